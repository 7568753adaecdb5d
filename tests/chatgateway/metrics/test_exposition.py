"""Prometheus' words for what was counted and measured."""

import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families

from chatgateway.metrics.exposition import PREFIX, expose
from chatgateway.metrics.families import COUNTERS, GAUGES, HISTOGRAMS
from chatgateway.metrics.snapshot import Snapshot, Times, Totals, combined
from connections.metrics import ANSWER, BOUNDS, Histogram
from tests.support.metrics import parse


def exposed(totals: Totals | None = None, *workers: Snapshot) -> str:
    return expose(totals or Totals(), combined(workers, now=10.0), version="1.2.3", accept="")[0].decode()


def worker(**gauges: float) -> Snapshot:
    return Snapshot(4.0, Totals(), {name: {"": value} for name, value in gauges.items()})


def test_everything_is_told_from_the_beginning_also_what_never_happened() -> None:
    samples = parse(exposed())
    for name, counter in COUNTERS.items():
        for reason in counter.reasons:
            assert samples[f"{PREFIX}{name}_total{{{reason}}}"] == 0
    assert all(samples[f"{PREFIX}{name}_count"] == 0 for name in HISTOGRAMS)
    assert all(samples[f"{PREFIX}{name}"] == 0 for name, gauge in GAUGES.items() if not gauge.label)
    assert samples[f"{PREFIX}connections{{langbot}}"] == 0
    assert samples[f"{PREFIX}info{{1.2.3}}"] == 1


def test_counters_also_of_unforeseen_kinds_and_reasons() -> None:
    samples = parse(exposed(Totals({ANSWER: {"cut": 2, "new": 1}, "surprises": {"why": 3}})))
    assert samples["chatgateway_answers_total{cut}"] == 2
    assert samples["chatgateway_answers_total{new}"] == 1
    assert samples["chatgateway_answers_total{answered}"] == 0
    assert samples["chatgateway_surprises_total{why}"] == 3


def test_a_bucket_holds_those_below_it_too() -> None:
    histogram = Histogram()
    for seconds in (0.005, 0.6, 0.65, 1000.0):
        histogram.observe(seconds)
    (family,) = (
        family
        for family in text_string_to_metric_families(exposed(Totals({}, {"answer_seconds": Times.of(histogram)})))
        if family.name == "chatgateway_answer_seconds"
    )
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if "le" in sample.labels}
    assert len(buckets) == len(BOUNDS) + 1
    assert (buckets["0.01"], buckets["0.5"], buckets["0.7"], buckets["60.0"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    others = {sample.name: sample.value for sample in family.samples if "le" not in sample.labels}
    assert others == {
        "chatgateway_answer_seconds_count": 4,
        "chatgateway_answer_seconds_sum": pytest.approx(1001.255),
    }


def test_workers_gauges_are_added_or_the_worst_is_told() -> None:
    one = worker(turns=2, descriptors=100, database_up=1, layer_up=1, descriptors_limit=500, resident_bytes=5)
    two = worker(turns=3, descriptors=70, database_up=0, layer_up=1, descriptors_limit=400, resident_bytes=6)
    samples = parse(exposed(None, one, two))
    told = {name: samples[f"chatgateway_{name}"] for name in one.gauges}
    assert told == {
        "turns": 5, "descriptors": 100, "database_up": 0, "layer_up": 1, "descriptors_limit": 400, "resident_bytes": 11,
    }  # fmt: skip
    assert (samples["chatgateway_workers_live"], samples["chatgateway_report_age_seconds"]) == (2, 6.0)


def test_a_scraper_that_prefers_open_metrics_gets_them() -> None:
    text, content_type = expose(Totals(), {}, version="1", accept="application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parser.text_string_to_metric_families(text.decode())}  # type: ignore[no-untyped-call]  # the library's
    assert families == {PREFIX + name for name in (*COUNTERS, *GAUGES, *HISTOGRAMS, "info")}
