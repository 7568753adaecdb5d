"""What a process did, kept by minute in the database: its counters' growth, written again and again while it grows."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from connections.metrics import ANSWER, ERROR, MESSAGE, Metrics
from connections.models import Minute
from connections.writer import Writer

EVERY = 2.0  # seconds between two looks at what has grown
KEPT_FOR = timedelta(days=8)
WAITING = 60  # minutes that are kept for a database that is away; of more the oldest are forgotten
REMEMBERED = 1440  # minutes that a clock which was set back goes on with; one that is older begins anew
_GROWING = ("connections", "messages", "answers", "errors", "first_words", "whole_answers")


class MinuteRow(msgspec.Struct, frozen=True):
    """What one worker did in the minute that began at `at`, in Unix seconds; histograms by the buckets of BOUNDS."""

    at: int
    worker: UUID
    connections: int
    messages: int
    answers: int
    errors: int
    first_words: tuple[int, ...]
    whole_answers: tuple[int, ...]


class WriteMinutes(msgspec.Struct, frozen=True):
    """Store what a worker did in some minutes, in place of what was stored of them before."""

    rank: ClassVar[int] = 85
    rows: tuple[MinuteRow, ...]

    @classmethod
    def apply(cls, jobs: Sequence["WriteMinutes"]) -> Sequence[None]:
        latest = {(row.at, row.worker): row for job in jobs for row in job.rows}
        Minute.objects.bulk_create(
            [
                Minute(**{**msgspec.structs.asdict(row), "at": datetime.fromtimestamp(row.at, UTC)})
                for row in latest.values()
            ],
            update_conflicts=True,
            unique_fields=["at", "worker"],
            update_fields=_GROWING,
        )
        return [None] * len(jobs)


class PurgeMinutes(msgspec.Struct, frozen=True):
    """Forget the minutes before `before`."""

    rank: ClassVar[int] = 98
    before: datetime

    @classmethod
    def apply(cls, jobs: Sequence["PurgeMinutes"]) -> Sequence[None]:
        Minute.objects.filter(at__lt=max(job.before for job in jobs)).delete()
        return [None] * len(jobs)


class _Reading(msgspec.Struct, frozen=True):
    """What had been counted at some moment."""

    messages: int = 0
    answers: int = 0
    errors: int = 0
    first_words: tuple[int, ...] = ()
    whole_answers: tuple[int, ...] = ()

    def since(self, before: "_Reading") -> "_Reading":
        """Return how much more it is than `before`."""
        return _Reading(
            self.messages - before.messages,
            self.answers - before.answers,
            self.errors - before.errors,
            _growth(before.first_words, self.first_words),
            _growth(before.whole_answers, self.whole_answers),
        )


class Minutes:
    """Writes what `metrics` counts, and how many `connections` there are, under this process's lease."""

    def __init__(
        self,
        writer: Writer,
        metrics: Metrics,
        *,
        worker: Callable[[], UUID],
        connections: Callable[[], int],
        clock: Callable[[], float] = time.time,
        on_round: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self._writer = writer
        self._metrics = metrics
        self._worker = worker
        self._connections = connections
        self._clock = clock
        self._on_round = on_round  # hears how each writing went
        self._minute: tuple[int, UUID] | None = None  # the one that is being counted, and under which lease
        self._base = self._last = _Reading()  # as it began, and as of the last look
        self._grown: dict[tuple[int, UUID], _Reading] = {}  # in each minute, for a clock that is set back to it
        self._waiting: dict[tuple[int, UUID], MinuteRow] = {}
        self._written: MinuteRow | None = None

    async def run(self) -> None:
        """Write what has grown every EVERY seconds and as each minute ends, until cancelled."""
        while True:
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001  the database is away: it is written with the next
                self._on_round(error)
            else:
                self._on_round(None)
            await asyncio.sleep(min(EVERY, 60 - self._clock() % 60))

    async def flush(self) -> None:
        """Write the minutes that have changed since they were written; those of a failed try are tried again."""
        self._look()
        rows = tuple(self._waiting.values())
        if not rows:
            return
        await self._writer.submit(WriteMinutes(rows))
        self._written = rows[-1]
        for row in rows:
            if self._waiting.get((row.at, row.worker)) is row:
                del self._waiting[row.at, row.worker]

    async def purge(self) -> None:
        """Forget minutes that are too old."""
        await self._writer.submit(PurgeMinutes(timezone.now() - KEPT_FOR))

    def _look(self) -> None:
        """Note what has grown: in the minute that it grew in, up to the moment of its first look."""
        minute = int(self._clock()) // 60 * 60, self._worker()
        now = self._read()
        if minute != self._minute:
            # What was counted since the last look belongs to the minute that ended, unless its lease is no longer ours.
            if self._minute is not None and self._minute[1] == minute[1]:
                self._note(self._minute, now)
                self._last = now
            self._base, self._minute = self._last.since(self._grown.get(minute, _Reading())), minute
        self._note(minute, now)
        self._last = now

    def _note(self, minute: tuple[int, UUID], now: _Reading) -> None:
        grown = self._grown[minute] = now.since(self._base)
        if len(self._grown) > REMEMBERED:
            del self._grown[next(iter(self._grown))]
        row = MinuteRow(*minute, self._connections(), *msgspec.structs.astuple(grown))
        empty = MinuteRow(*minute, 0, 0, 0, 0, (), ())
        written = self._written if self._written and (self._written.at, self._written.worker) == minute else empty
        if row != self._waiting.get(minute, written):
            self._waiting[minute] = row
            if len(self._waiting) > WAITING:
                del self._waiting[next(iter(self._waiting))]

    def _read(self) -> _Reading:
        metrics = self._metrics
        return _Reading(
            metrics.total(MESSAGE),
            metrics.total(ANSWER),
            metrics.total(ERROR),
            metrics.first_words.counts,
            metrics.whole_answers.counts,
        )


def _growth(before: tuple[int, ...], now: tuple[int, ...]) -> tuple[int, ...]:
    """Return how much each bucket has grown; empty where none has."""
    grown = tuple(count - was for count, was in zip(now, before or (0,) * len(now), strict=True))
    return grown if any(grown) else ()
