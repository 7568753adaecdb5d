"""How the gateway is, in numbers: one answer for the dashboard and the terminal, from the database."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec
from django.core.cache import cache
from django.utils import timezone

from connections import statistics
from connections.forms import WIRES
from connections.metrics import quantile
from connections.statistics import Mailboxes, Period, WorkerState
from conversations.statistics import OpenWork, open_work, pipeline_names

MINUTE = timedelta(minutes=1)
RECENT = 5  # minutes, and what there is of the present one, that latencies are told of
HOUR = 60

Span = Literal["hour", "day"]
# Of each span: the length of a period, how many there are, and for how many seconds what was read is shown again.
SPANS: dict[Span, tuple[timedelta, int, int]] = {"hour": (MINUTE, 60, 1), "day": (10 * MINUTE, 144, 10)}


class Share(msgspec.Struct, frozen=True):
    """So many of the live connections have something in common; `key` is what the list of connections knows it by."""

    key: str
    name: str
    connections: int


class Latency(msgspec.Struct, frozen=True):
    """Seconds within which half, and 95 of 100, of so many answers were there; None where there were none."""

    answers: int
    p50: float | None
    p95: float | None


class WorkerStatus(msgspec.Struct, frozen=True):
    """A worker, and how many connections live in it."""

    worker: WorkerState
    connections: int


class Status(msgspec.Struct, frozen=True):
    """The state of the whole deployment at a moment."""

    at: datetime
    connections: int
    by_wire: list[Share]
    by_pipeline: list[Share]
    messages_last_minute: int
    messages_this_minute: int
    work: OpenWork
    first_words: Latency
    whole_answers: Latency
    errors_last_hour: int
    mailboxes: Mailboxes
    workers: list[WorkerStatus]


def read_status() -> Status:
    """Return the state as it was at most a second ago, however many ask."""
    status: Status | None = cache.get("dashboard.status")
    if status is None:
        status = make_status()
        cache.set("dashboard.status", status, 1)
    return status


def read_history(span: Span) -> list[Period]:
    """Return what was done in the full minutes of the last hour or day, in periods of equal length."""
    length, count, fresh = SPANS[span]
    key = f"dashboard.history.{span}"
    periods: list[Period] | None = cache.get(key)
    if periods is None:
        periods = statistics.periods(_minute(timezone.now()) - count * length, length, count)
        cache.set(key, periods, fresh)
    return periods


def make_status() -> Status:
    """Read the state as it is."""
    now = timezone.now().astimezone(UTC)
    live = statistics.live_counts()
    names = pipeline_names()
    minutes = statistics.periods(_minute(now) - HOUR * MINUTE, MINUTE, HOUR + 1)
    return Status(
        at=now,
        connections=live.total,
        by_wire=_most_first([Share(wire, name, live.by_wire.get(wire, 0)) for wire, name in WIRES.items()]),
        by_pipeline=_most_first(
            [Share(str(uuid or ""), _pipeline(uuid, names), count) for uuid, count in live.by_pipeline.items()]
        ),
        messages_last_minute=minutes[-2].messages,
        messages_this_minute=minutes[-1].messages,
        work=open_work(),
        first_words=_latency([minute.first_words for minute in minutes[-RECENT - 1 :]]),
        whole_answers=_latency([minute.whole_answers for minute in minutes[-RECENT - 1 :]]),
        errors_last_hour=sum(minute.errors for minute in minutes),
        mailboxes=statistics.mailboxes(),
        workers=[WorkerStatus(worker, live.by_worker.get(worker.uuid, 0)) for worker in statistics.workers()],
    )


def _minute(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)


def _most_first(shares: list[Share]) -> list[Share]:
    return sorted(shares, key=lambda share: (-share.connections, share.name))


def _pipeline(uuid: UUID | None, names: dict[UUID, str]) -> str:
    return "No pipeline" if uuid is None else names.get(uuid, f"{uuid} (gone)")


def _latency(histograms: list[tuple[int, ...]]) -> Latency:
    counts = statistics.combined(histograms)
    return Latency(sum(counts), quantile(counts, 0.5), quantile(counts, 0.95))
