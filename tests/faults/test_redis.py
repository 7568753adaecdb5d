"""Redis restarts, is away, hangs or is slow: two workers lose nothing, answer on, and find each other again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.outages import stalled, stopped, vanished
from tests.faults.proxy import FaultyProxy
from tests.faults.wires import Talker, Told, ask_all, talkers
from tests.support.clients import PipelineClient, is_final
from tests.support.databases import PostgresServer, ValkeyServer
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess, Templates, get_status
from tests.support.waiting import eventually
from tests.support.yishiting import raw

AWAY = at_length(1.0, 10.0)  # seconds
PACE = at_length(0.3, 1.0)  # seconds between two questions, which are counted: nobody is to come over a limit
ROOM = 30.0
PROMISED = 5.0
MEMBERS = 8  # of a room; both workers have some
SLOW = 2_000.0  # bytes a second of each connection
LISTENING = "SELECT count(DISTINCT worker) FROM connections_connection WHERE ended_at IS NULL AND wire = '{}'"


@dataclass(frozen=True)
class Site:
    """Two workers, and the Redis between them behind a proxy."""

    gateway: GatewayProcess
    server: ValkeyServer
    proxy: FaultyProxy


@contextmanager
def restarted(site: Site) -> Iterator[None]:
    """It is started anew at once."""
    site.server.restart()
    yield


@contextmanager
def slowed(site: Site) -> Iterator[None]:
    """What goes to it and comes from it takes its time."""
    site.proxy.throttle(SLOW)
    try:
        yield
    finally:
        site.proxy.throttle(None)


@pytest.fixture(scope="module")
def site(templates: Templates, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers whose Redis may be broken."""
    with ExitStack() as stack:
        server = ValkeyServer()
        stack.callback(server.stop)
        server.start()
        proxy = stack.enter_context(FaultyProxy(server.port))
        gateway = GatewayProcess(
            tmp_path_factory.mktemp("gateway"),
            templates.copy_postgres(postgres),
            redis_url=f"redis://127.0.0.1:{proxy.port}/0",
            workers=2,
        )
        stack.callback(gateway.close)
        gateway.start()
        yield Site(gateway, server, proxy)


class Room:
    """A room with members on both workers, who each hear everything that is said in it, in order."""

    def __init__(self, members: list[PipelineClient]) -> None:
        self.members = members
        self.seq = int(members[0].connected.get("last_seq", 0))

    async def hears(self) -> tuple[float, bool]:
        """Have one of them ask; return how long the slowest waited, and whether each saw the answer grow."""
        began = time.monotonic()
        await self.members[0].say("ai What can you do?")
        heard = await asyncio.gather(*(member.until(is_final, ROOM) for member in self.members))
        for frames in heard:
            stored = [frame["data"]["seq"] for frame in frames if "seq" in frame["data"]]
            assert stored == [self.seq + 1, self.seq + 2], "each of them once, in order"
        self.seq += 2
        return time.monotonic() - began, all(_grows(frames) for frames in heard)


def _grows(frames: list[dict[str, object]]) -> bool:
    return sum(frame["type"] == "response" for frame in frames) > 1


@asynccontextmanager
async def a_room(site: Site, postgres: PostgresServer) -> AsyncIterator[Room]:
    """Give a room of its own, once both workers have members of it."""
    name = uuid4().hex
    async with AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(await PipelineClient.connect(site.gateway, "group", session_id=name))
            for _ in range(MEMBERS)
        ]
        await _spread(site, postgres, "langbot")
        yield Room(members)


async def _spread(site: Site, postgres: PostgresServer, wire: str) -> None:
    async def both() -> bool:
        rows = await asyncio.to_thread(postgres.query, site.gateway.database_url, LISTENING.format(wire))
        return bool(rows[0][0] == 2)

    await eventually(both, timeout=ROOM, what="sockets on both workers")


@asynccontextmanager
async def correspondents(site: Site) -> AsyncIterator[list[HubClient]]:
    """Give some clients of the hub, the first of whom writes to all."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(await HubClient.connect(site.gateway, f"/one/{uuid4().hex}"))
            for _ in range(MEMBERS)
        ]


async def _letters(clients: list[HubClient]) -> float:
    """Return how long the slowest waits for a letter to all, which comes once."""
    began, mark = time.monotonic(), uuid4().hex
    await clients[0].write([client.id for client in clients], mark)
    for client in clients:
        assert [letter["content"] for letter in await client.until(lambda _: True, ROOM)] == [mark]
    return time.monotonic() - began


@pytest.mark.promise("R10")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [restarted, stopped, stalled, vanished, slowed])
async def test_workers_go_on_without_redis_and_find_each_other_after_it(
    site: Site, postgres: PostgresServer, measured: Measured, fault: Callable[[Site], AbstractContextManager[None]]
) -> None:
    async with talkers(site.gateway) as everybody, a_room(site, postgres) as room, correspondents(site) as clients:
        assert all(told.answered for told in await ask_all(everybody))
        await _until_together(room)
        answers: list[Told] = []
        heard = [0.0]
        with fault(site):
            end = time.monotonic() + AWAY
            while len(heard) < 2 or time.monotonic() < end:
                heard += await _meanwhile(site, everybody, room, clients, answers)
                await asyncio.sleep(PACE)
            health, body = await asyncio.to_thread(raw, site.gateway, "GET", "/health")
            assert health == 200
            assert fault in {restarted, slowed} or body["status"] == "degraded"
        back = await _until_together(room)
        await _letters(clients)
        sockets = [*room.members, *clients]
        assert all(client.socket.close_code is None for client in sockets), "sockets stay open"
    slowest = max(told.seconds for told in answers)
    measured(
        "R10",
        on="PostgreSQL + Valkey",
        figure=f"{fault.__name__}: {len(answers)} answers meanwhile ≤ {slowest:.1f} s, each other's messages"
        f" ≤ {max(heard):.1f} s; together again in {back:.1f} s",
        holds=slowest <= PROMISED and max(heard) <= PROMISED and back <= PROMISED,
    )


async def _meanwhile(
    site: Site, everybody: list[Talker], room: Room, clients: list[HubClient], answers: list[Told]
) -> list[float]:
    """Have everybody answered on his own connection, and heard on the others; return how long those waited."""
    told = await ask_all(everybody)
    assert all(one.answered for one in told), told
    answers += told
    (seconds, _), letters = await asyncio.gather(room.hears(), _letters(clients))
    assert await asyncio.to_thread(get_status, f"{site.gateway.url}/readyz") == 200
    return [seconds, letters]


async def _until_together(room: Room) -> float:
    """Return how long it takes until one worker's members see an answer grow that another one gives."""
    began = time.monotonic()

    async def together() -> bool:
        _, grows = await room.hears()
        return grows

    await eventually(together, timeout=ROOM, what="deltas from the other worker")
    return time.monotonic() - began
