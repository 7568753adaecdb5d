"""Workers that are killed, all of them too, and one that only sleeps: no ghosts, nothing lost or twice (R4, R9)."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import LiteralString

import pytest

from tests.benchmarks.measuring import cpu_seconds
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import Place, at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.proxy import FaultyProxy
from tests.faults.talkers import LOST, Failure, Knocker, Talker
from tests.support.databases import PostgresServer, ValkeyServer
from tests.support.server import GatewayProcess, Templates, manage, model_settings
from tests.support.waiting import eventually

KILLS = at_length(1, 20)
SLEEPS = at_length(1, 5)
TALKERS = at_length(6, 16)
KNOCKS = at_length(10.0, 50.0)  # a second
# The long version measures what an operator gets by default.
LEASE = at_length({"BEAT": "0.5", "LEASE": "3", "SCAN": "0.5"}, {})
PLACE: Place = "PostgreSQL + Valkey"
PATIENCE = 120.0  # seconds, on a machine that does much else
PROMISED = 30.0  # seconds until ghosts are gone, and until turns are over
RESPAWN = 2.0
TRIES = 1000  # moments at which some worker is stopped, until it is in a transaction

LIVING: LiteralString = "SELECT uuid::text, pid FROM connections_worker WHERE ended_at IS NULL ORDER BY started_at"
CONNECTIONS: LiteralString = """
    SELECT worker::text, count(*) FROM connections_connection WHERE ended_at IS NULL GROUP BY worker
"""
HELD: LiteralString = """
    SELECT application_name FROM pg_stat_activity WHERE xact_start IS NOT NULL AND wait_event = 'ClientRead'
"""
TURNS: LiteralString = "SELECT worker::text, count(*) FROM conversations_turn WHERE state = 'running' GROUP BY worker"


@pytest.fixture(scope="module")
def proxy(postgres: PostgresServer) -> Iterator[FaultyProxy]:
    """What lies before the database."""
    with FaultyProxy(postgres.socket) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway(
    templates: Templates,
    postgres: PostgresServer,
    proxy: FaultyProxy,
    valkey: ValkeyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    """Two workers that ask a model which takes its time, and reach their database through `proxy`."""
    with model_in_thread(Mode.SLOW) as model:
        model.delay = 0.04
        environment = {**model_settings(model.base_url()), **LEASE, "RATE_LIMITS": "off"}
        name = postgres.address(templates.copy_postgres(postgres))["dbname"]
        gateway = GatewayProcess(
            tmp_path_factory.mktemp("gateway"),
            f"postgres://postgres@127.0.0.1:{proxy.port}/{name}",
            redis_url=valkey.url,
            workers=2,
            environment=environment,
        )
        manage("bootstrap", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url, **environment)
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.close()


@dataclass
class Load:
    """Clients that talk and knock without an end, until the block around them ends."""

    talkers: list[Talker]
    knocker: Knocker

    @property
    def answers(self) -> int:
        return sum(len(talker.answers) for talker in self.talkers)

    @property
    def longest(self) -> float:
        """Seconds that somebody waited for an answer, his reconnects included."""
        return max(talker.longest for talker in self.talkers)

    @property
    def failures(self) -> list[Failure]:
        """Connections that were not made."""
        return [failure for talker in self.talkers for failure in talker.failures] + self.knocker.failures

    async def has_talked(self) -> None:
        """Return once everybody has had one more answer."""
        before = [len(talker.answers) for talker in self.talkers]

        async def all_have() -> bool:
            return all(len(talker.answers) > had for talker, had in zip(self.talkers, before, strict=True))

        await eventually(all_have, timeout=PATIENCE, what="an answer to everybody")


@asynccontextmanager
async def load(gateway: GatewayProcess, *, knocks: bool = True) -> AsyncIterator[Load]:
    """Put a gateway under load; afterwards everybody must have had each answer once, in order."""
    over = asyncio.Event()
    under = Load([Talker(gateway) for _ in range(TALKERS)], Knocker(gateway, a_second=KNOCKS))
    async with asyncio.TaskGroup() as group:
        for talker in under.talkers:
            group.create_task(talker.talk(over))
        if knocks:
            group.create_task(under.knocker.knock(over))
        await under.has_talked()
        yield under
        await under.has_talked()
        over.set()
    for talker in under.talkers:
        talker.check()
    assert truth.count(gateway, truth.OPEN) == truth.count(gateway, truth.UNANSWERED) == 0
    assert truth.count(gateway, truth.ANSWERED_TWICE) == truth.count(gateway, truth.WITH_GAPS) == 0


class Loss:
    """Workers that were ended or put to sleep: seconds until others had noticed, and had their turns."""

    def __init__(self, gateway: GatewayProcess, workers: list[str], number: signal.Signals) -> None:
        self._gateway = gateway
        self._workers = set(workers)
        self.turns = sum(turns for worker, turns in truth.ask(gateway, TURNS) if worker in self._workers)
        self._ready = gateway.log().count("worker.ready")
        self._pids = [pid for worker, pid in truth.ask(gateway, LIVING) if worker in self._workers]
        self._spares = {pid: cpu_seconds([pid]) for pid in gateway.spare_pids()}
        for pid in self._pids:
            os.kill(pid, number)
        self.time = time.monotonic()
        self.ghosts = self.taken_over = self.respawned = self.start = 0.0

    async def is_noticed(self) -> None:
        """Wait until no lease, no connection and no turn is theirs."""
        await eventually(lambda: self._none(LIVING, CONNECTIONS), timeout=PATIENCE, what="the end of their rows")
        self.ghosts = time.monotonic() - self.time
        await eventually(lambda: self._none(TURNS), timeout=PATIENCE, what="others who take their turns over")
        self.taken_over = time.monotonic() - self.time

    async def are_replaced(self) -> None:
        """Wait until as many serve as before, and note what the dearest cost since the loss, in seconds of CPU."""
        await eventually(self._serve, timeout=PATIENCE, what="others that serve")
        self.respawned = time.monotonic() - self.time
        pids = re.findall(r"worker\.ready .*\bpid=(\d+)", self._gateway.log())[self._ready :]
        self.start = max(cpu_seconds([pid]) - self._spares.get(pid, 0.0) for pid in map(int, pids))

    def was_told_by_lock(self) -> bool:
        """Tell whether their locks told of their end, and not their silence."""
        lines = [line for line in self._gateway.log().splitlines() if "worker.lost" in line]
        return all(any(worker in line and "ended=True" in line for line in lines) for worker in self._workers)

    def wake(self) -> None:
        """Let those that sleep go on."""
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)

    async def _none(self, *statements: LiteralString) -> bool:
        return not any(
            worker in self._workers for statement in statements for worker, _ in truth.ask(self._gateway, statement)
        )

    async def _serve(self) -> bool:
        return self._gateway.log().count("worker.ready") == self._ready + len(self._pids)


async def spare_waits(gateway: GatewayProcess) -> None:
    """Wait until a worker stands by for the next loss."""

    async def waits() -> bool:
        return bool(gateway.spare_pids())

    await eventually(waits, timeout=PATIENCE, what="a spare that waits")


@pytest.mark.promise("R4", "R9")
@pytest.mark.timeout(240 * KILLS)
async def test_killed_workers_leave_no_ghosts_and_nobody_is_refused(
    gateway: GatewayProcess, measured: Measured
) -> None:
    losses = []
    async with load(gateway) as under:
        for number in range(KILLS + 1):
            await spare_waits(gateway)
            workers = [worker for worker, _ in truth.ask(gateway, LIVING)]
            # The one that has been there longest; at last all of them.
            loss = Loss(gateway, workers[:1] if number < KILLS else workers, signal.SIGKILL)
            losses.append(loss)
            await asyncio.gather(loss.is_noticed(), loss.are_replaced())
            await under.has_talked()
        assert all(loss.was_told_by_lock() for loss in losses)
    # Who was being let in by the one that died has to come again; who comes after its death is let in.
    assert not [failure for failure in under.failures if not _met(failure, losses)]
    assert any(LOST in talker.closes for talker in under.talkers)
    *single, everybody = losses
    ghosts, start = max(loss.ghosts for loss in losses), max(loss.start for loss in single)
    respawn = max(loss.respawned for loss in single)
    figure = (
        f"{len(single)} killed, one after another: ghosts gone after at most {ghosts:.1f} s; the spare takes its place "
        f"and serves after {start:.1f} s of CPU ({respawn:.1f} s beside this test's load and whatever else there was), "
        f"both at once after {everybody.respawned:.1f} s; 0 of {len(under.knocker.knocks):,} new connections failed, "
        f"the slowest took {max(under.knocker.knocks):.1f} s"
    )
    measured("R9", on=PLACE, figure=figure, holds=ghosts <= PROMISED and respawn <= RESPAWN)
    taken_over = max(loss.taken_over for loss in losses)
    figure = (
        f"{under.answers:,} of {under.answers:,} over {len(losses)} kills of a worker; {sum(x.turns for x in losses)} "
        f"turns that died with it taken over after at most {taken_over:.1f} s, the longest answer {under.longest:.1f} s"
    )
    measured("R4", on=PLACE, figure=figure, holds=under.longest <= PROMISED)


def _met(failure: Failure, losses: list[Loss]) -> bool:
    """Tell whether a connection was on its way when somebody died."""
    return any(failure.began <= loss.time <= failure.failed for loss in losses)


@pytest.mark.promise("R4", "R9")
@pytest.mark.timeout(240 * SLEEPS)
async def test_a_worker_that_sleeps_loses_its_turns_and_doubles_nothing_when_it_wakes(
    gateway: GatewayProcess, measured: Measured
) -> None:
    losses: list[Loss] = []
    fenced = "worker.fenced"
    before = gateway.log().count(fenced)
    async with load(gateway, knocks=False) as under:  # who knocks at a sleeping worker waits until it wakes
        for _ in range(SLEEPS):
            worker = await _put_to_sleep(gateway)
            loss = Loss(gateway, [worker], signal.SIGSTOP)
            losses.append(loss)
            try:
                await loss.is_noticed()
            finally:
                loss.wake()
            await eventually(lambda: _has(gateway, fenced, before + len(losses)), timeout=PATIENCE, what="its notice")
            await under.has_talked()
    assert not under.failures
    turns = sum(loss.turns for loss in losses)
    ghosts, taken_over = max(loss.ghosts for loss in losses), max(loss.taken_over for loss in losses)
    settings = "BEAT 0.5 s, LEASE 3 s" if LEASE else "the default lease"
    figure = f"asleep in a transaction {len(losses)} times, {settings}: rows ended after at most {ghosts:.1f} s"
    measured("R9", on=PLACE, figure=figure, holds=ghosts <= PROMISED)
    figure = (
        f"{under.answers:,} of {under.answers:,}, {turns} turns of a worker asleep taken over after at most "
        f"{taken_over:.1f} s ({settings}); awake again, it doubled none"
    )
    measured("R4", on=PLACE, figure=figure, holds=taken_over <= PROMISED)


async def _put_to_sleep(gateway: GatewayProcess) -> str:
    """Stop a worker that has turns, in the midst of a transaction, whose locks it then keeps."""
    # Which of them has turns is chance: everybody may have come to the same one.
    workers: list[tuple[str, int]] = truth.ask(gateway, LIVING)
    for worker, pid in islice(cycle(workers), TRIES):
        os.kill(pid, signal.SIGSTOP)
        held = any(name.startswith(f"chatgateway {pid}@") for (name,) in truth.ask(gateway, HELD))
        if held and worker in dict(truth.ask(gateway, TURNS)):
            return worker
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.01)  # any moment will do
    raise AssertionError(f"none of {TRIES} moments was in a transaction")


@pytest.mark.promise("R9", "R11")
@pytest.mark.timeout(240)
async def test_a_worker_that_dies_while_the_database_is_away_is_there_again_after_it(
    gateway: GatewayProcess, proxy: FaultyProxy
) -> None:
    ready, refused = "worker.ready", "cannot be opened"
    before, (_, pid) = gateway.log().count(ready), truth.ask(gateway, LIVING)[0]
    proxy.refuse()
    proxy.cut()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: _has(gateway, refused, 2), timeout=PATIENCE, what="starts that fail, in a sentence")
    proxy.accept()
    await eventually(lambda: _has(gateway, ready, before + 1), timeout=PATIENCE, what="one that succeeds")
    async with load(gateway):
        pass


async def _has(gateway: GatewayProcess, words: str, times: int) -> bool:
    return gateway.log().count(words) >= times
