"""What a process counts: how much of something happened, by reason, and how long it took."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

# What is counted. Each has the name that /metrics tells it by; chatgateway.metrics.families tells what its reasons are.
MESSAGE = "messages"  # stored, and with that acknowledged
ANSWER = "answers"  # turns that ended
ERROR = "errors"  # turns that failed or were cut, and faults of our own
RESUME = "resumes"
REPLAYED = "replayed"  # messages told again by a resume
FEEDBACK = "feedback"  # on answers, by what visitors think of them
REPEATED = "repeated"  # questions whose id had been here
GAP = "gaps"  # events that a topic missed
TAKEN_OVER = "taken_over"  # turns that another worker left
OPENED = "opened"  # connections, by wire
CLOSED = "closed"  # connections, by close code
DEAD_PEER = "dead_peers"  # connections that nobody answers on any more, by wire
REFUSED_HANDSHAKE = "refused_handshakes"  # before the upgrade
REFUSED_FRAME = "refused_frames"  # that are not of their wire, by wire
LIMIT = "limited"  # what was over a limit, by kind
SHED = "shed"  # 503 or its like, because something is full
GHOST = "ghosts"  # connections of lost workers that were ended for them
WORKER = "workers"  # started, lost (another one), fenced (this one, by others)
LAYER = "layer_changes"  # away, back
STORE = "store_failures"  # writes that failed
JOB = "jobs"  # writes that were committed
MODEL = "model_failures"  # calls to models
BREAKER = "breaker_changes"  # of calls to models: opened, closed
OUTBOX = "deliveries"  # attempts to deliver from the outbox
CLOCK = "clock_jumps"  # of the wall clock against the monotonic one
CPU = "cpu_seconds"

OTHER = "other"  # the reason of what a peer said and is none of those that are told apart
# Of a connection, as far as they are told apart: RFC 6455's, then ours.
CLOSE_CODES = (
    "1000", "1001", "1002", "1003", "1005", "1006", "1007", "1008", "1009", "1011", "1012", "1013",
    "4001", "4003", "4004", "4009", "4108", "4129",
)  # fmt: skip

# The upper bounds of a histogram's buckets, in seconds; a last bucket holds what took longer. Two neighbours are at
# most 5/3 apart, and so is what `quantile` says from what was measured.
BOUNDS = (
    0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
)  # fmt: skip


class Histogram:
    """How often something took how long, by the buckets of BOUNDS; one thread at a time observes."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0  # of all of them together

    @property
    def counts(self) -> tuple[int, ...]:
        """One number a bucket, as they are now."""
        return tuple(self._counts)

    def observe(self, seconds: float) -> None:
        """Count something that took so long."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


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
        self.commits = Histogram()
        self.drains = Histogram()
        self.loop_lags = Histogram()
        self.outbound_bytes = 0  # that wait now for peers to read
        self.writes_fail = False  # as the last one did

    def count(self, what: str, reason: str, times: int = 1) -> None:
        """Count `what` for `reason`."""
        if times:
            with self._lock:
                self._counts[what, reason] += times

    def copy(self) -> dict[tuple[str, str], int]:
        """Return the counts as they are now; they may go on meanwhile."""
        with self._lock:
            return dict(self._counts)

    def total(self, what: str) -> int:
        """Return how often `what` was counted, for whichever reason."""
        with self._lock:
            return sum(times for (counted, _), times in self._counts.items() if counted == what)
