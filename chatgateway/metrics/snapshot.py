"""What one worker, or several together, have counted and measured at a moment."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from chatgateway.metrics.families import GAUGES
from connections.metrics import Histogram

STEPS = 2**20  # in a second; a power of two, which a float divides by without rest


def exact(seconds: float) -> float:
    """Return `seconds` to the microsecond, in steps of which sums are exact.

    Workers are added up in one order here and in another there; a sum that is less by its last bit would look to
    Prometheus like a restart.
    """
    return round(seconds * STEPS) / STEPS


class Times(msgspec.Struct, frozen=True):
    """A histogram as it is: one number a bucket of BOUNDS, and the seconds of all together."""

    counts: tuple[int, ...]
    seconds: float

    @classmethod
    def of(cls, histogram: Histogram) -> "Times":
        """Return what a histogram holds."""
        return cls(histogram.counts, exact(histogram.seconds))

    def plus(self, other: "Times") -> "Times":
        """Return both together; of another release, whose buckets are others, nothing is taken."""
        if len(self.counts) != len(other.counts):
            return self
        counts = tuple(one + two for one, two in zip(self.counts, other.counts, strict=True))
        return Times(counts, self.seconds + other.seconds)


class Totals(msgspec.Struct, frozen=True):
    """What only grows: counts by name and reason, and histograms by name."""

    counters: dict[str, dict[str, float]] = {}
    histograms: dict[str, Times] = {}


class Snapshot(msgspec.Struct, frozen=True):
    """A worker's numbers `at` a moment of the monotonic clock, which the processes of a machine share.

    Gauges are by name and label; the label is "" where there is none.
    """

    at: float
    totals: Totals
    gauges: dict[str, dict[str, float]] = {}


def together(some: Iterable[Totals]) -> Totals:
    """Return what several have counted."""
    counters: dict[str, dict[str, float]] = {}
    histograms: dict[str, Times] = {}
    for totals in some:
        for name, counts in totals.counters.items():
            sums = counters.setdefault(name, defaultdict(float))
            for reason, count in counts.items():
                sums[reason] += count
        for name, times in totals.histograms.items():
            histograms[name] = histograms[name].plus(times) if name in histograms else times
    return Totals(counters, histograms)


def combined(live: Sequence[Snapshot], now: float) -> dict[str, dict[str, float]]:
    """Return the gauges of the workers that live, as those of one."""
    gauges: dict[str, dict[str, float]] = {}
    for name, gauge in GAUGES.items():
        values: dict[str, list[float]] = {}
        for snapshot in live:
            for label, value in snapshot.gauges.get(name, {}).items():
                values.setdefault(label, []).append(value)
        gauges[name] = {label: gauge.combine(some) for label, some in values.items()}
    gauges["workers_live"] = {"": len(live)}
    gauges["report_age_seconds"] = {"": max((now - snapshot.at for snapshot in live), default=0.0)}
    return gauges
