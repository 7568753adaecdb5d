"""What a process did, minute by minute: when it is written, and what a database that is away changes about it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import pytest

from connections.metrics import ANSWER, BOUNDS, ERROR, MESSAGE, Metrics
from connections.minutes import WAITING, MinuteRow, Minutes, PurgeMinutes, WriteMinutes
from connections.models import Minute
from connections.writer import Writer
from tests.conversations.conftest import Database

P = ParamSpec("P")
R = TypeVar("R")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TWELVE = int(NOON.timestamp())


class Away(Exception):  # noqa: N818  names a state
    """The database cannot be written."""


class Shelf(Writer):
    """Keeps what it is told to write, by minute, unless it is away."""

    def __init__(self) -> None:
        self.rows: dict[int, MinuteRow] = {}
        self.writes = 0
        self.is_away = False

    def submit(self, job: Any) -> "asyncio.Future[Any]":
        done = asyncio.get_running_loop().create_future()
        if self.is_away:
            done.set_exception(Away())
        else:
            self.writes += 1
            self.rows |= {row.at: row for row in job.rows}
            done.set_result(None)
        return done

    def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        raise AssertionError("nothing is read")


class Process:
    """A process with its clock, its lease and its connections."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.metrics = Metrics()
        self.now = float(TWELVE)
        self.worker = uuid4()
        self.connections = 0
        self.minutes = Minutes(
            self.shelf,
            self.metrics,
            worker=lambda: self.worker,
            connections=lambda: self.connections,
            clock=lambda: self.now,
        )

    def say(self, times: int = 1) -> None:
        self.metrics.count(MESSAGE, "user", times)

    async def flush_at(self, second: float) -> None:
        self.now = TWELVE + second
        await self.minutes.flush()

    def messages(self) -> dict[int, int]:
        """Return what was written, by the minute's beginning."""
        return {at - TWELVE: row.messages for at, row in self.shelf.rows.items()}


@pytest.fixture
def process() -> Process:
    return Process()


async def test_a_minute_is_written_again_as_it_grows_and_only_then(process: Process) -> None:
    process.say(2)
    await process.flush_at(10)
    await process.flush_at(12)
    assert (process.messages(), process.shelf.writes) == ({0: 2}, 1)
    process.say()
    await process.flush_at(14)
    assert (process.messages(), process.shelf.writes) == ({0: 3}, 2)


async def test_all_that_is_counted_is_in_the_row(process: Process) -> None:
    process.connections = 7
    process.metrics.count(ANSWER, "answered", 4)
    process.metrics.count(ERROR, "failed")
    process.metrics.first_words.observe(0.5)
    process.metrics.whole_answers.observe(100)
    await process.flush_at(1)
    row = process.shelf.rows[TWELVE]
    assert (row.worker, row.connections, row.answers, row.errors) == (process.worker, 7, 4, 1)
    assert row.first_words.index(1) == BOUNDS.index(0.5)
    assert row.whole_answers.index(1) == len(BOUNDS)


async def test_what_was_counted_before_a_minute_s_end_belongs_to_it(process: Process) -> None:
    process.say()
    await process.flush_at(58)
    process.say(10)
    await process.flush_at(60)
    process.say(100)
    await process.flush_at(62)
    assert process.messages() == {0: 11, 60: 100}


@pytest.mark.parametrize("ahead", [60, 3600])
async def test_a_minute_goes_on_where_the_clock_is_set_back_to_it(process: Process, ahead: int) -> None:
    process.metrics.first_words.observe(0.5)
    process.say()
    await process.flush_at(10)
    process.say(10)
    await process.flush_at(ahead)
    process.metrics.first_words.observe(0.5)
    process.say(100)
    await process.flush_at(20)
    process.say(1000)
    await process.flush_at(30)
    await process.flush_at(ahead + 10)
    process.say(10_000)
    await process.flush_at(ahead + 20)
    assert process.messages() == {0: 1011, ahead: 10_100}
    assert [sum(row.first_words) for row in process.shelf.rows.values()] == [1, 1]


async def test_who_only_stays_is_counted_in_every_minute_and_nobody_in_none(process: Process) -> None:
    await process.flush_at(0)
    assert process.shelf.rows == {}
    process.connections = 1
    await process.flush_at(2)
    await process.flush_at(60)
    await process.flush_at(120)
    process.connections = 0
    await process.flush_at(122)
    assert {at - TWELVE: row.connections for at, row in process.shelf.rows.items()} == {0: 1, 60: 1, 120: 0}


async def test_what_a_database_that_is_away_missed_is_written_with_the_next(process: Process) -> None:
    process.shelf.is_away = True
    process.say()
    for second in (0, 30):
        with pytest.raises(Away):
            await process.flush_at(second)
    process.say(10)
    with pytest.raises(Away):
        await process.flush_at(60)
    process.shelf.is_away = False
    process.say(100)
    await process.flush_at(62)
    assert process.messages() == {0: 11, 60: 100}


async def test_a_database_that_is_away_for_long_costs_the_oldest_minutes(process: Process) -> None:
    process.shelf.is_away = True
    process.connections = 1
    for minute in range(WAITING + 5):
        with pytest.raises(Away):
            await process.flush_at(60 * minute)
    process.shelf.is_away = False
    await process.flush_at(60 * (WAITING + 4) + 2)
    assert list(process.messages()) == [60 * minute for minute in range(5, WAITING + 5)]


async def test_under_a_new_lease_nothing_is_counted_twice(process: Process) -> None:
    process.say()
    await process.flush_at(10)
    before, process.worker = process.shelf.rows[TWELVE], uuid4()
    process.say(10)
    await process.flush_at(12)
    after = process.shelf.rows[TWELVE]
    assert before.worker != after.worker == process.worker
    assert (before.messages, after.messages) == (1, 10)


# --- In the database -------------------------------------------------------------------------------


def test_rows_are_stored_in_place_of_those_before_and_forgotten_by_age(real_database: Database) -> None:
    worker = uuid4()

    def row(at: int, messages: int) -> MinuteRow:
        return MinuteRow(at, worker, 2, messages, 1, 0, (1, 2), ())

    def stored() -> list[tuple[datetime, int, Any]]:
        found = Minute.objects.filter(worker=worker).order_by("at")
        return list(found.values_list("at", "messages", "first_words"))

    WriteMinutes.apply([WriteMinutes((row(TWELVE, 3),)), WriteMinutes((row(TWELVE, 4), row(TWELVE + 60, 1)))])
    WriteMinutes.apply([WriteMinutes((row(TWELVE + 60, 5),))])
    assert stored() == [(NOON, 4, [1, 2]), (NOON + timedelta(minutes=1), 5, [1, 2])]
    PurgeMinutes.apply([PurgeMinutes(NOON + timedelta(seconds=30))])
    assert [at for at, _, _ in stored()] == [NOON + timedelta(minutes=1)]
