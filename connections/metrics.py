"""What a process counts: how much of something happened, by reason."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType


class Metrics:
    """Counters of one process since its start, by what is counted and why.

    Both are words of the code's own, never a peer's: there are only so many.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self.counts: Mapping[tuple[str, str], int] = MappingProxyType(self._counts)

    def count(self, what: str, reason: str, times: int = 1) -> None:
        """Count `what` for `reason`."""
        if times:
            self._counts[what, reason] += times
