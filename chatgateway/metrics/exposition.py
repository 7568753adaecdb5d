"""Numbers in Prometheus' words."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from chatgateway.metrics.families import COUNTERS, GAUGES, HISTOGRAMS, Counter
from chatgateway.metrics.snapshot import Times, Totals
from connections.metrics import BOUNDS

PREFIX = "chatgateway_"
_NOTHING = Times((0,) * (len(BOUNDS) + 1), 0.0)


class _Numbers(Collector):
    """What is told once."""

    def __init__(self, totals: Totals, gauges: Mapping[str, Mapping[str, float]], version: str) -> None:
        self._totals = totals
        self._gauges = gauges
        self._version = version

    def collect(self) -> Iterable[Metric]:
        """Return every metric, also those of which there is nothing yet."""
        yield from self._counters()
        yield from self._histograms()
        for name, gauge in GAUGES.items():
            family = GaugeMetricFamily(PREFIX + name, gauge.help, labels=[gauge.label] if gauge.label else None)
            for label, value in (dict.fromkeys(gauge.values, 0.0) | dict(self._gauges.get(name, {}))).items():
                family.add_metric([label] if gauge.label else [], value)
            yield family
        about = GaugeMetricFamily(f"{PREFIX}info", "1; the label tells the version.", labels=["version"])
        about.add_metric([self._version], 1)
        yield about

    def _counters(self) -> Iterator[Metric]:
        counted = self._totals.counters
        for name in sorted(COUNTERS.keys() | counted.keys()):
            known = COUNTERS.get(name, Counter(f"{name.replace('_', ' ').capitalize()}, by reason.", ()))
            family = CounterMetricFamily(PREFIX + name, known.help, labels=["reason"])
            for reason, count in (dict.fromkeys(known.reasons, 0.0) | counted.get(name, {})).items():
                family.add_metric([reason], count)
            yield family

    def _histograms(self) -> Iterator[Metric]:
        for name, help_ in HISTOGRAMS.items():
            times = self._totals.histograms.get(name, _NOTHING)
            buckets, below = [], 0
            for bound, count in zip((*BOUNDS, float("inf")), times.counts, strict=True):
                below += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
            family = HistogramMetricFamily(PREFIX + name, help_)
            family.add_metric([], buckets, times.seconds)
            yield family


def expose(
    totals: Totals, gauges: Mapping[str, Mapping[str, float]], *, version: str, accept: str
) -> tuple[bytes, str]:
    """Return the numbers as text, and its content type: the one that `accept` prefers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(totals, gauges, version))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
