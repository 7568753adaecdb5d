"""Every number of who is here and what the workers do, for staff. Synchronous; the same from whichever worker."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from django.db.models import Count, F, Q, Sum, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from connections.metrics import BOUNDS
from connections.models import Connection, HubClient, Minute, Worker

LATELY = timedelta(hours=1)  # so long a worker that has ended is still shown
WORKERS_SHOWN = 50
_NOTHING = "[]"
_histogram = msgspec.json.Decoder(tuple[int, ...])


class LiveCounts(msgspec.Struct, frozen=True):
    """How many connections are live, by what they have in common; None is the pipeline of those that have none."""

    total: int
    by_wire: dict[str, int]
    by_pipeline: dict[UUID | None, int]
    by_worker: dict[UUID, int]


class WorkerState(msgspec.Struct, frozen=True):
    """A worker's lease; it lives while `ended_at` is None. Times in UTC."""

    uuid: UUID
    host: str
    pid: int
    beat: int
    started_at: datetime
    ended_at: datetime | None


class Mailboxes(msgspec.Struct, frozen=True):
    """How many clients of the hub have letters waiting, and how many letters that are."""

    clients: int
    letters: int


class Period(msgspec.Struct, frozen=True):
    """What all workers did from `at` on: `connections` is the most that were live in one of its minutes."""

    at: datetime
    connections: int = 0
    messages: int = 0
    answers: int = 0
    errors: int = 0
    first_words: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    whole_answers: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)


def live_counts() -> LiveCounts:
    """Return the numbers of live connections."""
    by_wire: Counter[str] = Counter()
    by_pipeline: Counter[UUID | None] = Counter()
    by_worker: Counter[UUID] = Counter()
    live = Connection.objects.filter(ended_at=None).order_by()
    for wire, pipeline, worker, count in live.values_list("wire", "pipeline", "worker").annotate(Count("id")):
        by_wire[wire] += count
        by_pipeline[pipeline] += count
        by_worker[worker] += count
    return LiveCounts(by_wire.total(), dict(by_wire), dict(by_pipeline), dict(by_worker))


def workers() -> list[WorkerState]:
    """Return the workers that live, oldest first, then those that ended lately, newest first."""
    found = Worker.objects.filter(Q(ended_at=None) | Q(ended_at__gte=timezone.now() - LATELY)).order_by(
        F("ended_at").desc(nulls_first=True), "started_at", "id"
    )
    return [
        WorkerState(
            worker.uuid, worker.host, worker.pid, worker.beat, worker.started_at.astimezone(UTC),
            worker.ended_at and worker.ended_at.astimezone(UTC),
        )
        for worker in found[:WORKERS_SHOWN]
    ]  # fmt: skip


def mailboxes() -> Mailboxes:
    """Return what waits for clients of the hub."""
    waiting = HubClient.objects.filter(last_seq__gt=F("delivered_seq"))
    found = waiting.aggregate(clients=Count("id"), letters=Sum(F("last_seq") - F("delivered_seq")))
    return Mailboxes(found["clients"], found["letters"] or 0)


def periods(since: datetime, length: timedelta, count: int) -> list[Period]:
    """Return `count` periods of whole minutes from `since` on, oldest first, also those in which nothing was done."""
    rows = (
        Minute.objects.filter(at__gte=since, at__lt=since + count * length)
        .order_by()
        .annotate(first=Cast("first_words", TextField()), whole=Cast("whole_answers", TextField()))
        .values_list("at", "connections", "messages", "answers", "errors", "first", "whole")
    )
    sums = [_Sum() for _ in range(count)]
    for at, *numbers in rows:
        sums[(at - since) // length].add(at, *numbers)
    return [total.period(since + place * length) for place, total in enumerate(sums)]


class _Sum:
    """A period as its minutes are added up."""

    def __init__(self) -> None:
        self._connections: Counter[datetime] = Counter()
        self._messages = self._answers = self._errors = 0
        self._first_words = [0] * (len(BOUNDS) + 1)
        self._whole_answers = [0] * (len(BOUNDS) + 1)

    def add(self, at: datetime, connections: int, messages: int, answers: int, errors: int, *times: str) -> None:
        """Add what one worker did in the minute `at`; `times` are its two histograms, as JSON."""
        self._connections[at] += connections
        self._messages += messages
        self._answers += answers
        self._errors += errors
        for total, histogram in zip((self._first_words, self._whole_answers), times, strict=True):
            if histogram != _NOTHING:
                _add(total, _histogram.decode(histogram))

    def period(self, at: datetime) -> Period:
        """Return the sum."""
        return Period(
            at, max(self._connections.values(), default=0), self._messages, self._answers, self._errors,
            tuple(self._first_words), tuple(self._whole_answers),
        )  # fmt: skip


def _add(total: list[int], histogram: Sequence[int]) -> None:
    # A histogram of another release may have other buckets: it says nothing here.
    if len(histogram) == len(total):
        for place, count in enumerate(histogram):
            total[place] += count


def combined(histograms: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the sum of histograms."""
    total = [0] * (len(BOUNDS) + 1)
    for histogram in histograms:
        _add(total, histogram)
    return tuple(total)
