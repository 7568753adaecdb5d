"""What a process counts."""

from connections.metrics import Metrics


def test_things_are_counted_by_reason_and_nothing_leaves_no_trace() -> None:
    metrics = Metrics()
    metrics.count("letter", "unknown")
    metrics.count("letter", "unknown", 2)
    metrics.count("letter", "full")
    metrics.count("reply", "late", 0)
    assert metrics.counts == {("letter", "unknown"): 3, ("letter", "full"): 1}
