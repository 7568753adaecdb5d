"""The dashboard's charts: what the workers did over an hour or a day."""

from collections.abc import Sequence

from django.utils import timezone

from chatgateway.dashboard.charts import Axis, Chart, Series, draw, number, seconds
from chatgateway.dashboard.status import SPANS, Span
from connections.metrics import quantile
from connections.statistics import Period


def pictures(span: Span, periods: Sequence[Period]) -> list[Chart]:
    """Draw messages, connections, latencies and errors of `periods`, in the zone of the settings."""
    length, count, _ = SPANS[span]
    axis = Axis(timezone.localtime(periods[0].at), length, count)
    each = "a minute" if span == "hour" else "in 10 minutes"
    return [
        draw("messages", "Messages", each, axis, [
            Series("Stored", [period.messages for period in periods], "area"),
        ], number),
        draw("connections", "Connections", "at once", axis, [
            Series("Live", [period.connections for period in periods], "area"),
        ], number),
        draw("first-words", "First words", "latency", axis, [
            Series("p50", [quantile(period.first_words, 0.5) for period in periods]),
            Series("p95", [quantile(period.first_words, 0.95) for period in periods]),
        ], seconds),
        draw("whole-answers", "Whole answer", "latency", axis, [
            Series("p50", [quantile(period.whole_answers, 0.5) for period in periods]),
            Series("p95", [quantile(period.whole_answers, 0.95) for period in periods]),
        ], seconds),
        draw("answers", "Answers", each, axis, [
            Series("Ended", [period.answers for period in periods], "area"),
        ], number),
        draw("errors", "Errors", each, axis, [
            Series("Errors", [period.errors for period in periods], "bars"),
        ], number),
    ]  # fmt: skip
