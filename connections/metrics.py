"""What a process counts: how much of something happened, by reason, and how long it took."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

MESSAGE = "message"  # stored, in or out
ANSWER = "answer"  # a turn that ended
ERROR = "error"  # a turn that failed or was cut, or a fault of our own

# The upper bounds of a histogram's buckets, in seconds; a last bucket holds what took longer. Two neighbours are at
# most 5/3 apart, and so is what `quantile` says from what was measured.
BOUNDS = (
    0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
)  # fmt: skip


class Histogram:
    """How often something took how long, by the buckets of BOUNDS."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)

    @property
    def counts(self) -> tuple[int, ...]:
        """One number a bucket, as they are now."""
        return tuple(self._counts)

    def observe(self, seconds: float) -> None:
        """Count something that took so long."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the seconds within which `share` of what a histogram counted was over, None where it counted nothing.

    As if the times of a bucket lay evenly in it: at most one bucket's width from the truth, that is less than 10 ms up
    to 10 ms, and beyond within a factor of 5/3. What took longer than the last bound is told as that bound.
    """
    rank, below, lower = share * sum(counts), 0, 0.0
    if not rank:
        return None
    for upper, count in zip(BOUNDS, counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
        lower = upper
    return BOUNDS[-1]


class Metrics:
    """Counters and histograms of one process since its start; any thread may count.

    What is counted and why are words of the code's own, never a peer's: there are only so many.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.counts: Mapping[tuple[str, str], int] = MappingProxyType(self._counts)
        self.first_words = Histogram()
        self.whole_answers = Histogram()

    def count(self, what: str, reason: str, times: int = 1) -> None:
        """Count `what` for `reason`."""
        if times:
            with self._lock:
                self._counts[what, reason] += times

    def total(self, what: str) -> int:
        """Return how often `what` was counted, for whichever reason."""
        with self._lock:
            return sum(times for (counted, _), times in self._counts.items() if counted == what)
