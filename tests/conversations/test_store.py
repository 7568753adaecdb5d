"""The writer: what was acknowledged is committed, and what fails says so and harms nothing else."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from structlog.testing import capture_logs

from conversations.models import Pipeline
from conversations.store import (
    BATCH,
    READERS,
    UNHURRIED_READERS,
    WAITING_READS,
    WAITING_UNHURRIED,
    Job,
    OutcomeUnknown,
    Refused,
    Store,
    StoreClosed,
    StoreFull,
    StoreUnavailable,
    Unstorable,
    patient,
    unhurried,
)
from tests.conversations.conftest import Database
from tests.support.waiting import eventually, wait_until

sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgres_only = pytest.mark.parametrize("database", ["postgres"], indirect=True)


@dataclass(frozen=True)
class AddPipeline(Job):
    """Writes a row; notes how many of its kind were applied together."""

    name: str = field(default_factory=lambda: f"p{uuid4().hex}")
    batches: list[int] = field(default_factory=list)

    @classmethod
    def apply(cls, jobs: Sequence["AddPipeline"]) -> Sequence[str]:
        Pipeline.objects.bulk_create(Pipeline(name=job.name) for job in jobs)
        jobs[0].batches.append(len(jobs))
        return [job.name for job in jobs]


@dataclass(frozen=True)
class Held(AddPipeline):
    """Writes its row, then keeps its transaction open until it is released."""

    entered: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    rank = 1

    @classmethod
    def apply(cls, jobs: Sequence["AddPipeline"]) -> Sequence[str]:
        names = super().apply(jobs)
        for job in jobs:
            assert isinstance(job, Held)
            job.entered.set()
            assert job.released.wait(10)
        return names


@dataclass(frozen=True)
class Poison(Job):
    """Breaks its transaction, once it is released."""

    released: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    rank = 2

    @classmethod
    def apply(cls, jobs: Sequence["Poison"]) -> Sequence[None]:
        for job in jobs:
            job.entered.set()
            assert job.released.wait(10)
        Pipeline.objects.bulk_create([Pipeline(name="one", uuid=uuid4(), pk=1), Pipeline(name="same key", pk=1)])
        return [None] * len(jobs)


@dataclass(frozen=True)
class TooLarge(AddPipeline):
    """Writes a row that there is no room for on the disk."""

    @classmethod
    def apply(cls, jobs: Sequence["AddPipeline"]) -> Sequence[str]:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count = 1")  # as many as there are, until this connection is closed
        Pipeline.objects.bulk_create(Pipeline(name=job.name, description="x" * 100_000) for job in jobs)
        return [job.name for job in jobs]


@dataclass(frozen=True)
class Choosy(Job):
    """Refuses odd numbers."""

    number: int

    @classmethod
    def apply(cls, jobs: Sequence["Choosy"]) -> Sequence[int | Refused]:
        return [Refused("odd") if job.number % 2 else job.number for job in jobs]


@asynccontextmanager
async def held(store: Store) -> AsyncIterator["asyncio.Future[Any]"]:
    """Keep the writer busy meanwhile, so that what is submitted waits together."""
    job = Held()
    future = store.submit(job)
    await asyncio.to_thread(job.entered.wait, 10)
    try:
        yield future
    finally:
        job.released.set()
    await future


async def test_what_waits_together_is_written_in_one_transaction(store: Store, database: Database) -> None:
    batches: list[int] = []
    async with held(store):
        jobs = [AddPipeline(batches=batches) for _ in range(20)]
        futures = [store.submit(job) for job in jobs]
        assert store.waiting == 21
    assert await asyncio.gather(*futures) == [job.name for job in jobs]
    assert batches == [20]
    assert store.waiting == 0
    assert all(database.has_pipeline(job.name) for job in jobs)


async def test_a_batch_is_bounded(store: Store) -> None:
    batches: list[int] = []
    async with held(store):
        futures = [store.submit(AddPipeline(batches=batches)) for _ in range(BATCH + 1)]
    await asyncio.gather(*futures)
    assert batches == [BATCH, 1]


async def test_an_acknowledgement_comes_only_after_the_commit(store: Store, database: Database) -> None:
    job = Held()
    future = store.submit(job)
    await asyncio.to_thread(job.entered.wait, 10)
    assert not future.done()
    assert not database.has_pipeline(job.name)
    # A callback of the future runs in the step after its end, with nothing in between.
    seen: list[bool] = []
    future.add_done_callback(lambda _: seen.append(database.has_pipeline(job.name)))
    job.released.set()
    await future
    await asyncio.sleep(0)
    assert seen == [True]


@postgres_only
async def test_a_commit_that_takes_its_time_is_not_acknowledged_before(store: Store, database: Database) -> None:
    job = AddPipeline(name=f"slow {uuid4()}")
    with slow_commit(database) as other:
        future = store.submit(job)
        await asyncio.to_thread(wait_until, lambda: waits_in_commit(other), timeout=10, what="a commit")
        assert not future.done()
        assert not database.has_pipeline(job.name)
        other.execute("SELECT pg_advisory_unlock(7)")
        await future
        assert database.has_pipeline(job.name)


@postgres_only
async def test_a_commit_that_is_cut_off_has_an_unknown_outcome(store: Store, database: Database) -> None:
    with slow_commit(database) as other:
        future = store.submit(AddPipeline(name=f"slow {uuid4()}"))
        await asyncio.to_thread(wait_until, lambda: waits_in_commit(other), timeout=10, what="a commit")
        behind = store.submit(AddPipeline())
        with capture_logs() as logs:
            other.execute(f"SELECT pg_terminate_backend(pid) {COMMITTING}")
            with pytest.raises(OutcomeUnknown, match="may be sent again"):
                await future
        (told,) = (entry for entry in logs if entry["event"] == "store.outcome_unknown")
        assert "terminating connection" in told["reason"]
        with pytest.raises(StoreUnavailable):  # where there is no server any more, it has waited as long
            await behind
    assert await store.write(AddPipeline())


async def test_a_full_store_refuses_at_once_and_takes_more_when_it_has_written(database: Database) -> None:
    store = Store(capacity=3)
    async with held(store):
        futures = [store.submit(AddPipeline()) for _ in range(2)]  # beside the one that holds it
        with pytest.raises(StoreFull):
            store.submit(refused := AddPipeline())
    await asyncio.gather(*futures)
    await store.write(AddPipeline())
    assert not database.has_pipeline(refused.name)
    await store.stop()


async def test_stop_writes_everything_that_waits_and_refuses_more(database: Database) -> None:
    store = Store()
    jobs = [AddPipeline() for _ in range(BATCH + 20)]
    async with held(store):
        futures = [store.submit(job) for job in jobs]
        stopping = asyncio.get_running_loop().create_task(store.stop())
        await asyncio.sleep(0)
        with pytest.raises(StoreClosed):
            store.submit(AddPipeline())
    await stopping
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [job.name for job in jobs]


async def test_a_stopped_store_reads_nothing(database: Database) -> None:
    store = Store()
    await store.stop()
    with pytest.raises(StoreClosed):
        await store.read(Pipeline.objects.count)
    await store.stop()


async def test_a_poisonous_job_fails_alone(store: Store, database: Database) -> None:
    poison = Poison()
    poison.released.set()
    async with held(store):
        before, bad, after = store.submit(AddPipeline()), store.submit(poison), store.submit(AddPipeline())
    with pytest.raises(Unstorable, match="could not be stored"):
        await bad
    assert database.has_pipeline(await before)
    assert database.has_pipeline(await after)


async def test_what_waits_behind_a_poisonous_job_is_written(store: Store) -> None:
    poison = Poison()
    bad = store.submit(poison)
    await asyncio.to_thread(poison.entered.wait, 10)
    behind = store.submit(AddPipeline())
    poison.released.set()
    with pytest.raises(Unstorable):
        await bad
    assert await behind


async def test_a_refused_job_fails_alone(store: Store) -> None:
    results = await asyncio.gather(*(store.write(Choosy(number)) for number in range(4)), return_exceptions=True)
    assert [str(result) for result in results] == ["0", "odd", "2", "odd"]
    assert isinstance(results[1], Refused)


async def test_a_job_whose_owner_left_is_written(store: Store, database: Database) -> None:
    job = AddPipeline()
    async with held(store):
        store.submit(job).cancel()
    assert await store.write(AddPipeline())
    assert database.has_pipeline(job.name)


async def test_a_locked_database_is_an_error_within_the_time_out_and_recovers(store: Store, database: Database) -> None:
    database.set_lock_timeout(0.2)
    with database.locked():
        start = time.monotonic()
        futures = [store.submit(AddPipeline()) for _ in range(3)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert time.monotonic() - start < 5  # R11
        assert [type(result) for result in results] == [StoreUnavailable] * 3
        with pytest.raises(StoreUnavailable):
            await store.write(AddPipeline())
    assert database.has_pipeline(await store.write(AddPipeline()))


@sqlite_only
async def test_the_log_says_why_nothing_is_written_once_and_when_it_works_again(store: Store) -> None:
    await store.write(AddPipeline())  # what came before this test is over
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.write(TooLarge())
        for _ in range(2):
            await store.write(AddPipeline())
    assert logs == [
        {
            "event": "store.unavailable",
            "log_level": "warning",
            "jobs": 1,
            "error": "OperationalError",
            "state": None,
            "reason": "database or disk is full",
        },
        {"event": "store.available", "log_level": "info"},
    ]


async def test_what_came_while_the_database_was_locked_hears_of_it_together(store: Store, database: Database) -> None:
    database.set_lock_timeout(0.3)
    with database.locked():
        first = store.submit(AddPipeline())
        late = [store.submit(AddPipeline()) for _ in range(BATCH)]
        await asyncio.wait([first])
        # Not one time-out later: it waited on the same database.
        assert all(future.done() for future in late)
        assert {type(future.exception()) for future in [first, *late]} == {StoreUnavailable}


async def test_a_database_that_hangs_is_an_error_all_the_same_and_recovers(database: Database) -> None:
    store = Store(patience=0.3)
    job, late = Held(), AddPipeline()
    future = store.submit(job)
    await asyncio.to_thread(job.entered.wait, 10)
    behind = store.submit(late)
    with pytest.raises(OutcomeUnknown):
        await future
    with pytest.raises(StoreUnavailable):
        await behind
    with pytest.raises(StoreUnavailable):
        store.submit(AddPipeline())
    assert store.waiting == 1, "what hangs may be written still"
    with capture_logs() as logs:
        job.released.set()
        await eventually(partial(_is_taken, store), timeout=10, what="a store that takes jobs again")
    assert "store.available" in [entry["event"] for entry in logs], "it was told that it hangs"
    assert database.has_pipeline(job.name)
    assert not database.has_pipeline(late.name), "it was told that it is not written"
    await store.stop()


async def _is_taken(store: Store) -> bool:
    try:
        await store.write(AddPipeline())
    except StoreUnavailable:
        return False
    return True


@postgres_only
async def test_a_killed_connection_is_replaced_without_an_error(store: Store, database: Database) -> None:
    await store.write(AddPipeline())
    terminate_all(database)
    assert database.has_pipeline(await store.write(AddPipeline()))


@postgres_only
async def test_a_connection_killed_in_its_transaction_loses_nothing(store: Store, database: Database) -> None:
    job = Held()
    future = store.submit(job)
    await asyncio.to_thread(job.entered.wait, 10)
    terminate_all(database)
    job.released.set()
    try:
        await future
    except (StoreUnavailable, OutcomeUnknown):
        assert not database.has_pipeline(job.name)
    else:
        assert database.has_pipeline(job.name)
    assert database.has_pipeline(await store.write(AddPipeline()))


async def test_a_read_returns_what_was_written(store: Store) -> None:
    name = await store.write(AddPipeline())
    assert await store.read(lambda named: Pipeline.objects.filter(name=named).count(), name) == 1


async def test_a_read_without_a_database_is_an_error_of_the_store(store: Store) -> None:
    def fail() -> None:
        raise OperationalError("away")

    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.read(fail)
    assert await store.read(Pipeline.objects.count)


async def test_a_fault_of_the_reader_itself_is_not_hidden(store: Store) -> None:
    with pytest.raises(Pipeline.DoesNotExist):
        await store.read(Pipeline.objects.get, name="nobody")


@postgres_only
async def test_a_killed_reader_recovers(store: Store, database: Database) -> None:
    def killed() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StoreUnavailable):
        await store.read(killed)
    assert await store.read(Pipeline.objects.count)


async def test_a_flood_of_histories_holds_up_no_lease_and_is_refused_at_once(store: Store, database: Database) -> None:
    go, began = threading.Event(), threading.Semaphore(0)

    @unhurried
    def history() -> str:
        began.release()
        assert go.wait(10)
        return "history"

    try:
        asked = [asyncio.ensure_future(store.read(history)) for _ in range(UNHURRIED_READERS + WAITING_UNHURRIED)]
        for _ in range(UNHURRIED_READERS):
            await asyncio.to_thread(began.acquire, True, 10)
        with pytest.raises(StoreFull):
            await store.read(history)
        # Those who leave make no room: what they asked for is still done, and counts until it is.
        asked[-1].cancel()
        await asyncio.wait([asked[-1]])
        with pytest.raises(StoreFull):
            await store.read(history)
        assert await store.read(Pipeline.objects.count)
    finally:
        go.set()
    assert await asyncio.gather(*asked[:-1]) == ["history"] * (len(asked) - 1)
    assert await store.read(history) == "history"


async def test_reads_that_wait_are_bounded(store: Store, database: Database) -> None:
    go = threading.Event()
    try:
        asked = [asyncio.ensure_future(store.read(go.wait, 10)) for _ in range(READERS + WAITING_READS)]
        await asyncio.sleep(0)
        with pytest.raises(StoreFull):
            await store.read(Pipeline.objects.count)
    finally:
        go.set()
    assert all(await asyncio.gather(*asked))
    assert await store.read(Pipeline.objects.count)


async def test_a_read_that_hangs_is_an_error_and_so_are_those_in_line(database: Database) -> None:
    store, go = Store(patience=0.3), threading.Event()
    asked = [asyncio.ensure_future(store.read(go.wait, 30)) for _ in range(READERS + 1)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * len(asked)
    go.set()
    assert await store.read(Pipeline.objects.count)
    await store.stop()


@sqlite_only
async def test_reads_in_line_are_waited_for_as_long_as_those_before_them_end(database: Database) -> None:
    patience = 2.0
    store, began = Store(patience=patience), time.monotonic()
    pieces = [store.read(time.sleep, 0.4 * patience) for _ in range(3 * READERS)]  # each takes its time, none too much
    await asyncio.gather(*pieces)
    assert time.monotonic() - began > patience
    await store.stop()


async def test_a_patient_read_is_waited_for(database: Database) -> None:
    store = Store(patience=0.1)

    @patient
    def slow() -> str:
        time.sleep(0.5)  # that is what it is about
        return "done"

    assert await store.read(slow) == "done"
    await store.stop()


COMMITTING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


class slow_commit:  # noqa: N801  reads as the function that it is
    """Keep the commit of rows whose name begins with "slow" waiting until advisory lock 7 is free."""

    def __init__(self, database: Database) -> None:
        self._connection = database.connect()

    def __enter__(self) -> Any:
        self._connection.execute("SELECT pg_advisory_lock(7)")
        self._connection.execute(
            "CREATE FUNCTION wait_for_seven() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$"
        )
        self._connection.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON conversations_pipeline DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (NEW.name LIKE 'slow%') EXECUTE FUNCTION wait_for_seven()"
        )
        return self._connection

    def __exit__(self, *_exception: object) -> None:
        with self._connection as connection:
            connection.execute("SELECT pg_advisory_unlock_all()")
            connection.execute("DROP FUNCTION wait_for_seven() CASCADE")


def waits_in_commit(other: Any) -> bool:
    return bool(other.execute(f"SELECT count(*) {COMMITTING}").fetchone()[0])


def terminate_all(database: Database) -> None:
    """Kill every connection to the database but the one that does it."""
    with database.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
