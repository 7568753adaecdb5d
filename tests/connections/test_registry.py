"""Who is here: leases that others judge, connections as rows, and processes that vanish."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from connections.events import EndConnections
from connections.jobs import LOST, Beat, Close, ConnectionRow, EndWorker, Open, Register, Reopen, Touch
from connections.models import Connection, Worker
from connections.registry import LeaseLimits, Registry
from connections.writer import Writer
from conversations.store import Store, StoreUnavailable
from tests.support.environment import ROOT, plain_environment

pytestmark = pytest.mark.django_db(transaction=True)

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 15.0
QUICK = LeaseLimits(beat=0.05, lease=0.4, scan=0.05)
NEVER = LeaseLimits(beat=3600, lease=3600, scan=3600)
HOLD_A_LEASE = """
import pathlib, sys, uuid
from connections.lock import WorkerLock
worker, lock = uuid.uuid4(), WorkerLock(pathlib.Path(sys.argv[1]))
lock.take(worker)
print(worker, flush=True)
sys.stdin.read()
"""


class UnsteadyWriter(Writer):
    """A store whose jobs of some kinds fail so many times first."""

    def __init__(self, store: Store, **failures: int) -> None:
        self._store = store
        self._failures = failures

    def submit(self, job: Any) -> "asyncio.Future[Any]":
        kind = type(job).__name__
        if self._failures.get(kind, 0):
            self._failures[kind] -= 1
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(StoreUnavailable("away"))
            return failed
        return self._store.submit(job)

    def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self._store.read(function, *args, **kwargs)


class Deployment:
    """The processes of a deployment, each a registry here, on one database and one disk."""

    def __init__(self, folder: Path) -> None:
        self.lock_dir = folder / "workers"
        self.store = Store()
        self._started: list[Registry] = []

    def worker(self, limits: LeaseLimits = NEVER, **failures: int) -> Registry:
        """Return a registry that is not started; `failures` are those of its writer."""
        return Registry(UnsteadyWriter(self.store, **failures), limits=limits, lock_dir=self.lock_dir)

    async def start(
        self, limits: LeaseLimits = NEVER, on_fenced: Callable[[], None] = lambda: None, **failures: int
    ) -> Registry:
        registry = self.worker(limits, **failures)
        await registry.start(on_fenced)
        self._started.append(registry)
        return registry

    async def stop(self) -> None:
        for registry in self._started:
            await registry.stop()
        await self.store.stop()

    async def write(self, job: Any) -> None:
        """Write as another process would."""
        await self.store.write(job)

    async def row(self, uuid: UUID) -> Connection:
        """Return a connection's row."""
        return await self.store.read(lambda: Connection.objects.get(uuid=uuid))

    async def lease(self, worker: UUID) -> Worker:
        """Return a worker's row."""
        return await self.store.read(lambda: Worker.objects.get(uuid=worker))

    async def silent_worker(self, **fields: Any) -> UUID:
        """Store the lease of a worker on another machine that does not beat."""
        worker = uuid4()
        row = {"host": "elsewhere", "pid": 1, "started_at": timezone.now(), **fields}
        await self.store.read(lambda: Worker.objects.create(uuid=worker, **row))
        return worker


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition()`, which asks the database, holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            pass


def connection(worker: UUID) -> ConnectionRow:
    return ConnectionRow(
        uuid=uuid4(),
        worker=worker,
        wire="langbot",
        pipeline=uuid4(),
        session=uuid4(),
        session_type="person",
        application=None,
        address="127.0.0.1",
        user_agent="test",
        connected_at=timezone.now(),
    )


def never(code: int, reason: str) -> None:
    raise AssertionError("nobody asked for it")


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    made = Deployment(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", UUID]]:
    """A real process that holds a lease's lock, and the lease's worker."""
    environment = plain_environment(tmp_path / "data", DJANGO_SETTINGS_MODULE="chatgateway.settings")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_LEASE, str(tmp_path / "workers")],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, UUID(process.stdout.readline().strip())
        process.kill()


# --- Connections -------------------------------------------------------------------------------


async def test_an_open_connection_is_a_row_once_it_is_told(deployment: Deployment) -> None:
    registry = await deployment.start()
    live = await registry.open(connection(registry.worker), never)
    row = await deployment.row(live.row.uuid)
    assert (row.worker, row.wire, row.pipeline, row.ended_at) == (registry.worker, "langbot", live.row.pipeline, None)
    assert row.connected_at == row.last_active == live.row.connected_at
    assert registry.live == 1


async def test_a_connection_that_cannot_be_stored_is_not_live(deployment: Deployment) -> None:
    registry = await deployment.start(Open=1)
    with pytest.raises(StoreUnavailable):
        await registry.open(connection(registry.worker), never)
    assert registry.live == 0


async def test_one_that_is_stored_soon_is_live_at_once_and_ends_after_it_began(deployment: Deployment) -> None:
    registry = await deployment.start()
    live = registry.open_soon(connection(registry.worker), never)
    assert registry.live == 1
    registry.close(live, 1000, "")

    async def ended() -> bool:
        return await deployment.store.read(lambda: Connection.objects.filter(close_code=1000).exists())

    await eventually(ended)


async def test_one_that_was_to_be_stored_soon_and_cannot_be_goes_on_unlisted(deployment: Deployment) -> None:
    registry = await deployment.start(Open=1)
    live = registry.open_soon(connection(registry.worker), never)
    registry.close(live, 1000, "")
    await registry.stop()  # which waits for what is still to be stored
    assert not await deployment.store.read(Connection.objects.exists)


async def test_what_a_connection_carries_is_written_with_the_beats(deployment: Deployment) -> None:
    registry = await deployment.start(QUICK, Touch=1)  # counters that could not be written are written later
    live = await registry.open(connection(registry.worker), never)
    live.received(10)
    live.received(5)
    live.sent(100)

    async def written() -> bool:
        row = await deployment.row(live.row.uuid)
        return (row.messages_in, row.bytes_in, row.messages_out, row.bytes_out) == (2, 15, 1, 100)

    await eventually(written)
    assert not live.dirty
    assert (await deployment.row(live.row.uuid)).last_active >= live.row.connected_at


async def test_the_end_of_a_connection_is_stored_with_its_last_counters(deployment: Deployment) -> None:
    registry = await deployment.start()
    live = await registry.open(connection(registry.worker), never)
    live.sent(7)
    registry.close(live, 4108, "too slow")
    assert registry.live == 0

    async def ended() -> bool:
        return (await deployment.row(live.row.uuid)).ended_at is not None

    await eventually(ended)
    row = await deployment.row(live.row.uuid)
    assert (row.close_code, row.close_reason, row.bytes_out) == (4108, "too slow", 7)


async def test_an_end_that_could_not_be_stored_is_tried_again(deployment: Deployment) -> None:
    registry = await deployment.start(Close=1)
    live = await registry.open(connection(registry.worker), never)
    registry.close(live, 1000, "bye")

    async def ended() -> bool:
        return (await deployment.row(live.row.uuid)).close_code == 1000

    await eventually(ended)


async def test_an_end_that_can_never_be_stored_is_given_up(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    registry = await deployment.start()
    live = await registry.open(connection(registry.worker), never)
    registry.close(live, 2**70, "no such code")
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*registry._tasks)
    assert sum("connection.end_lost" in record.getMessage() for record in caplog.records) == 1
    assert (await deployment.row(live.row.uuid)).ended_at is None


# --- Our own lease -----------------------------------------------------------------------------


async def test_a_lease_names_its_process_and_beats(deployment: Deployment) -> None:
    registry = await deployment.start(QUICK, Beat=2)  # a beat that fails is followed by the next

    async def beaten() -> bool:
        return (await deployment.lease(registry.worker)).beat >= 3

    await eventually(beaten)
    assert (await deployment.lease(registry.worker)).pid == os.getpid()


async def test_a_stopped_worker_gives_its_lease_and_its_connections_back(deployment: Deployment) -> None:
    registry = await deployment.start()
    live = await registry.open(connection(registry.worker), never)
    await registry.stop()
    row = await deployment.row(live.row.uuid)
    assert (row.close_code, row.close_reason) == (1012, "server stopped")
    assert (await deployment.lease(registry.worker)).ended_at is not None
    assert list(deployment.lock_dir.iterdir()) == []


@pytest.mark.parametrize("failures", [{}, {"Register": 1}, {"Reopen": 1}], ids=["", "no register", "no reopen"])
async def test_a_fenced_worker_begins_again_with_its_connections(
    deployment: Deployment, failures: dict[str, int]
) -> None:
    fenced = asyncio.Event()
    registry = await deployment.start(QUICK, fenced.set)
    first = registry.worker
    live, gone = [await registry.open(connection(first), never) for _ in range(2)]
    registry.close(gone, 1000, "")
    assert isinstance(registry._writer, UnsteadyWriter)
    registry._writer._failures.update(failures)
    await deployment.write(EndWorker(first))
    async with asyncio.timeout(PATIENCE):
        await fenced.wait()

    async def live_again() -> bool:
        row = await deployment.row(live.row.uuid)
        return row.ended_at is None and row.worker == registry.worker != first

    await eventually(live_again)
    row = await deployment.row(live.row.uuid)
    assert (row.close_code, row.close_reason) == (None, "")
    assert (await deployment.row(gone.row.uuid)).ended_at is not None
    assert (await deployment.lease(first)).ended_at is not None
    assert (await deployment.lease(registry.worker)).ended_at is None
    assert [path.stem for path in deployment.lock_dir.iterdir()] == [str(registry.worker)]


# --- The others --------------------------------------------------------------------------------


async def test_a_worker_silent_for_longer_than_the_lease_is_ended_with_its_connections(
    deployment: Deployment,
) -> None:
    silent = await deployment.silent_worker()
    left = connection(silent)
    await deployment.write(Open(left))
    watcher = await deployment.start(QUICK)
    began = time.monotonic()

    async def ended() -> bool:
        await watcher.scan()
        return (await deployment.lease(silent)).ended_at is not None

    await eventually(ended)
    assert time.monotonic() - began >= QUICK.lease
    row = await deployment.row(left.uuid)
    assert (row.close_code, row.close_reason) == (LOST, "worker lost")
    assert row.ended_at is not None


@pytest.mark.parametrize("age", [timedelta(days=-400), timedelta(days=400)], ids=["long ago", "in the future"])
async def test_what_other_clocks_say_does_not_matter(deployment: Deployment, age: timedelta) -> None:
    silent = await deployment.silent_worker(started_at=timezone.now() + age)
    watcher = await deployment.start(NEVER)
    await watcher.scan()
    await watcher.scan()
    assert (await deployment.lease(silent)).ended_at is None


async def test_a_worker_that_beats_lives_however_slowly_it_is_looked_at(deployment: Deployment) -> None:
    watcher = await deployment.start(LeaseLimits(beat=3600, lease=0.0001, scan=3600))
    other = await deployment.silent_worker()
    for _ in range(3):
        await watcher.scan()
        await deployment.write(Beat(other))
    await watcher.scan()
    assert (await deployment.lease(other)).ended_at is None
    await watcher.scan()  # and now it has been silent for longer than the lease
    assert (await deployment.lease(other)).ended_at is not None


async def test_who_could_not_look_for_long_judges_nobody(deployment: Deployment) -> None:
    # Every look comes later than three times `scan` after the last, as after an outage of the database.
    watcher = await deployment.start(LeaseLimits(beat=3600, lease=0.0001, scan=0.0000001))
    other = await deployment.silent_worker()
    for _ in range(5):
        await watcher.scan()
    assert (await deployment.lease(other)).ended_at is None


async def test_a_worker_does_not_judge_itself(deployment: Deployment) -> None:
    watcher = await deployment.start(LeaseLimits(beat=3600, lease=0.0001, scan=3600))
    for _ in range(3):
        await watcher.scan()
    assert (await deployment.lease(watcher.worker)).ended_at is None


async def test_workers_of_one_machine_leave_one_another_alone(deployment: Deployment) -> None:
    one, two = await deployment.start(), await deployment.start()
    for watcher in (one, two, one, two):
        await watcher.scan()
    for worker in (one, two):
        assert (await deployment.lease(worker.worker)).ended_at is None


async def test_a_killed_process_is_noticed_at_once_by_its_lock(
    deployment: Deployment, other_process: tuple["subprocess.Popen[str]", UUID]
) -> None:
    process, worker = other_process
    await deployment.write(Register(worker, "here", process.pid))
    left = connection(worker)
    await deployment.write(Open(left))
    watcher = await deployment.start(NEVER)
    await watcher.scan()
    assert (await deployment.lease(worker)).ended_at is None
    process.kill()
    process.wait(10)
    await watcher.scan()
    assert (await deployment.lease(worker)).ended_at is not None
    assert (await deployment.row(left.uuid)).close_code == LOST
    assert [path.stem for path in deployment.lock_dir.iterdir()] == [str(watcher.worker)]


async def test_the_dead_among_workers_are_those_without_a_lease(deployment: Deployment) -> None:
    registry = await deployment.start()
    ended, unknown = await deployment.silent_worker(ended_at=timezone.now()), uuid4()
    assert await registry.dead_among({registry.worker, ended, unknown}) == {ended, unknown}


def test_kinds_of_jobs_that_a_batch_brings_together_are_written_in_this_order() -> None:
    # A lease before what lives under it; an end after what it ends.
    ranks = [kind.rank for kind in (Register, Open, Reopen, Touch, Close, Beat, EndWorker)]
    assert ranks == sorted(ranks)


async def test_who_has_a_connection_that_is_to_be_closed_closes_it(deployment: Deployment) -> None:
    registry = await deployment.start()
    ends: list[tuple[int, str]] = []
    live = await registry.open(connection(registry.worker), lambda code, reason: ends.append((code, reason)))
    await registry.open(connection(registry.worker), never)
    registry.on_request(EndConnections((uuid4(), live.row.uuid), 4003, "enough"))
    assert ends == [(4003, "enough")]


# --- Who shows the connections hears of changes ------------------------------------------------


async def test_what_the_list_shows_is_told_once_it_is_committed(deployment: Deployment) -> None:
    changes: asyncio.Queue[None] = asyncio.Queue()
    registry = Registry(
        deployment.store, limits=NEVER, lock_dir=deployment.lock_dir, on_change=lambda: changes.put_nowait(None)
    )
    row = connection(registry.worker)
    live = await registry.open(row, never)
    assert changes.qsize() == 1

    registry.rename(live, "visitor", uuid4())
    async with asyncio.timeout(PATIENCE):
        await changes.get()
        await changes.get()
    assert (await deployment.row(row.uuid)).client == "visitor"

    registry.close(live, 1000, "")
    async with asyncio.timeout(PATIENCE):
        await changes.get()
    assert (await deployment.row(row.uuid)).ended_at is not None

    await registry.end_worker(await deployment.silent_worker())
    assert changes.qsize() == 1
