"""Frames on their way to one socket: sent at once, waiting, replaced, or too many."""

import asyncio
import itertools
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from connections.metrics import Metrics
from integrations.outbound import GAPS, OVERHEAD, DirectTransport, Frame, Outbound
from tests.conftest import GatewayFactory
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_type
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until


class Peer(DirectTransport):
    """A transport that takes `room` frames before it wants no more, and a Channels `send` that takes as many."""

    unsent = 0

    def __init__(self, room: int = 1000) -> None:
        self.can_write = room > 0
        self.on_writable: Callable[[], None] | None = None
        self.on_pong: Callable[[int], None] | None = None
        self.got: list[bytes] = []
        self._room = room
        self._reads = asyncio.Event()

    def write(self, frame: bytes) -> None:
        self._take(payload(frame))

    def ping(self) -> int:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    async def send(self, message: dict[str, Any]) -> None:
        while not self.can_write:
            self._reads.clear()
            await self._reads.wait()
        assert message["type"] == "websocket.send"
        self._take(message["text"].encode())

    def read(self, count: int) -> None:
        """Take `count` frames more."""
        self._room += count
        self.can_write = True
        self._reads.set()
        if self.on_writable is not None:
            self.on_writable()

    def _take(self, data: bytes) -> None:
        assert self._room > 0
        self._room -= 1
        self.can_write = self._room > 0
        self.got.append(data)


class Told:
    """What an outbound buffer tells its owner."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.slow = 0

    def too_slow(self) -> None:
        self.slow += 1


def payload(frame: bytes) -> bytes:
    """Read a frame back as a foreign library's client does."""
    reader = StreamReader()
    reader.feed_data(frame)
    reader.feed_eof()
    parsing = WireFrame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as end:
        next(parsing)
    parsed = end.value.value
    assert parsed.opcode is Opcode.TEXT
    assert parsed.fin
    assert reader.buffer == b""
    return bytes(parsed.data)


def buffer(peer: Peer, told: Told, *, direct: bool, limit: int = 100_000) -> Outbound:
    made = Outbound(peer.send, peer if direct else None, limit=limit, too_slow=told.too_slow, metrics=Metrics())
    made.on_sent = told.sizes.append
    return made


both = pytest.mark.parametrize("direct", [True, False], ids=["direct", "task"])


# --- The frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 1_000_000])
def test_a_frame_of_any_size_is_read_back_by_a_foreign_parser(size: int) -> None:
    assert payload(Frame(b"x" * size).wire) == b"x" * size


def test_a_frame_is_built_once_for_all_sockets() -> None:
    frame = Frame("答".encode())
    assert frame.wire is frame.wire
    assert payload(frame.wire).decode() == "答"


# --- The buffer --------------------------------------------------------------------------------


async def test_a_direct_frame_is_written_at_once() -> None:
    peer, told = Peer(), Told()
    outbound = buffer(peer, told, direct=True)
    outbound.push(Frame(b"one"))
    assert peer.got == [b"one"]
    assert told.sizes == [3]


@both
async def test_frames_arrive_in_order_and_are_counted(direct: bool) -> None:
    peer, told = Peer(), Told()
    outbound = buffer(peer, told, direct=direct)
    for number in range(20):
        outbound.push(Frame(b"%d" % number))
    await outbound.flush()
    assert peer.got == [b"%d" % number for number in range(20)]
    assert told.sizes == [len(got) for got in peer.got]
    outbound.close()


@both
async def test_while_the_peer_does_not_read_the_newest_state_of_an_answer_waits(direct: bool) -> None:
    peer, told = Peer(room=1), Told()
    outbound = buffer(peer, told, direct=direct)
    outbound.push(Frame(b"first"))
    await asyncio.sleep(0)
    for text, key in (
        (b"answer 7: a", 7),
        (b"pong", None),
        (b"answer 8: a", 8),
        (b"answer 7: ab", 7),
        (b"answer 7: abc", 7),
        (b"pong", None),
    ):
        outbound.push(Frame(text, key))
    flushing = asyncio.create_task(outbound.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    peer.read(10)
    await flushing
    assert peer.got == [b"first", b"pong", b"answer 8: a", b"answer 7: abc", b"pong"]
    outbound.close()


async def test_what_waits_is_sent_as_far_as_the_peer_reads_and_keeps_its_order() -> None:
    peer = Peer(room=1)
    outbound = buffer(peer, Told(), direct=True)
    for number in range(4):
        outbound.push(Frame(b"%d" % number))
    peer.read(2)
    outbound.push(Frame(b"4"))
    assert peer.got == [b"0", b"1", b"2"]
    peer.read(5)
    assert peer.got == [b"0", b"1", b"2", b"3", b"4"]


@both
async def test_a_peer_beyond_the_bound_is_too_slow_once_and_gets_no_more(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct, limit=2 * (5 + OVERHEAD) + 1)
    for _ in range(5):
        outbound.push(Frame(b"12345"))
    assert told.slow == 1
    peer.read(10)
    await outbound.flush()
    outbound.push(Frame(b"more"))
    assert peer.got == []
    assert told.slow == 1


@both
async def test_what_fills_the_bound_exactly_is_kept(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct, limit=10 + 10 // GAPS + 3 * OVERHEAD)
    outbound.push(Frame(b"12345"))
    outbound.push(Frame(b"67890"))
    outbound.push(Frame(b""))
    assert told.slow == 0
    peer.read(5)
    await outbound.flush()
    assert b"".join(peer.got) == b"1234567890"
    outbound.close()


@pytest.mark.parametrize(("more", "slow"), [(100, 0), (99, 1)])
@both
async def test_what_waits_counts_for_what_the_heap_loses_too(direct: bool, more: int, slow: int) -> None:
    told = Told()
    outbound = buffer(Peer(room=0), told, direct=direct, limit=2 * (400 + OVERHEAD) + more)
    outbound.push(Frame(b"1" * 400))
    outbound.push(Frame(b"1" * 400))
    assert told.slow == slow
    outbound.close()


@both
async def test_ever_so_many_small_frames_are_as_much_as_a_few_large_ones(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct, limit=10 * OVERHEAD)
    for _ in range(9):
        outbound.push(Frame(b"1"))
    assert told.slow == 0
    outbound.push(Frame(b"1"))
    assert told.slow == 1
    outbound.close()


@both
async def test_a_replaced_frame_gives_its_bytes_back(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct, limit=8 + OVERHEAD)
    for number in range(50):
        outbound.push(Frame(b"%08d" % number, key="answer"))
    assert told.slow == 0
    outbound.close()


async def test_what_the_server_has_still_to_send_waits_too() -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=True, limit=100 + 2 * OVERHEAD)
    outbound.push(Frame(b"1" * 40))
    peer.unsent = 50
    outbound.push(Frame(b"1" * 20))
    assert told.slow == 1


async def test_a_frame_greater_than_the_bound_reaches_a_peer_that_reads() -> None:
    peer, told = Peer(), Told()
    outbound = buffer(peer, told, direct=True, limit=10)
    outbound.push(Frame(b"x" * 5000))
    assert told.slow == 0
    assert peer.got == [b"x" * 5000]


@both
async def test_a_closed_buffer_takes_and_sends_nothing(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct)
    outbound.push(Frame(b"waits"))
    flushing = asyncio.create_task(outbound.flush())
    await asyncio.sleep(0)
    outbound.close()
    outbound.push(Frame(b"late"))
    peer.read(5)
    await flushing
    assert peer.got == []
    assert peer.on_writable is None


@both
async def test_what_waits_has_drained_when_the_peer_has_taken_it(direct: bool) -> None:
    peer = Peer(room=1)
    outbound = buffer(peer, Told(), direct=direct)
    await outbound.drained()
    for number in range(4):
        outbound.push(Frame(b"%d" % number))
    waiting = [asyncio.create_task(outbound.drained()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting.pop().cancel()  # who gives up waiting does not end it for the others
    peer.read(2)
    await asyncio.sleep(0)
    assert not waiting[0].done()
    peer.read(1)
    await asyncio.wait_for(waiting[0], 5)
    assert peer.got == [b"0", b"1", b"2", b"3"]
    outbound.close()


@both
async def test_nobody_waits_for_a_closed_buffer(direct: bool) -> None:
    outbound = buffer(Peer(room=0), Told(), direct=direct)
    outbound.push(Frame(b"waits"))
    outbound.push(Frame(b"waits too"))
    waiting = asyncio.create_task(outbound.drained())
    await asyncio.sleep(0)
    outbound.close()
    await asyncio.wait_for(waiting, 5)


@both
async def test_who_lost_something_is_too_slow_once(direct: bool) -> None:
    peer, told = Peer(room=0), Told()
    outbound = buffer(peer, told, direct=direct)
    outbound.push(Frame(b"waits"))
    outbound.lost()
    outbound.lost()
    peer.read(5)
    outbound.push(Frame(b"more"))
    assert (peer.got, told.slow) == ([], 1)


# --- Slow readers at a real server -------------------------------------------------------------


@asynccontextmanager
async def stalled(gateway: GatewayProcess) -> AsyncIterator[tuple[ClientConnection, UUID]]:
    """Yield a group's socket that reads its greeting and then nothing, and its connection's id."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", gateway.port))
    narrow.setblocking(False)
    path = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect?session_type=group"
    async with connect(
        gateway.ws_url + path,
        sock=narrow,
        compression=None,
        max_queue=1,
        max_size=None,
        ping_interval=None,
        close_timeout=0.1,
        proxy=None,
    ) as client:
        greeting = PipelineClient(client)
        yield client, UUID((await greeting.recv())["connection_id"])


def close_code(gateway: GatewayProcess, connection: UUID) -> int | None:
    """Return how a connection ended, as recorded; None while it lives."""
    with closing(sqlite3.connect(gateway.data_dir / "gateway.sqlite3")) as database:
        row = database.execute(
            "SELECT close_code FROM connections_connection WHERE uuid = ?", [connection.hex]
        ).fetchone()
    code: int | None = row[0]
    return code


async def ended(gateway: GatewayProcess, connection: UUID) -> None:
    """Wait until a connection's end is recorded, as too slow."""
    await asyncio.to_thread(
        wait_until,
        lambda: close_code(gateway, connection) is not None,
        timeout=10,
        what="the end of the slow connection",
        detail=gateway.log,
    )
    assert close_code(gateway, connection) == 4108


async def read_on(client: ClientConnection, heard: list[Any]) -> None:
    """Read until the socket is closed."""
    while True:
        heard.append(await client.recv())


async def chatter(gateway: GatewayProcess, reader: PipelineClient) -> int:
    """Talk in the group until the gateway finds somebody too slow; return how much was said."""
    async with await PipelineClient.connect(gateway, "group") as talker:
        for number in itertools.count(1):
            await talker.say("x" * 150_000)
            for client in (talker, reader):
                await client.until(is_type("user_message"))
            if "code=4108" in gateway.log():
                return number
            assert number < 200, "nobody is too slow"
    raise AssertionError


async def test_a_reader_that_stalls_is_cut_off_and_the_others_go_on(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_OUTBOUND_BYTES": "100000"})
    async with stalled(gateway) as (_, connection), await PipelineClient.connect(gateway, "group") as reader:
        await chatter(gateway, reader)
        assert (await reader.ping())["type"] == "pong"
        await ended(gateway, connection)
        assert (await reader.ping())["type"] == "pong"


async def test_a_slow_reader_that_reads_on_is_told_why(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_OUTBOUND_BYTES": "100000"})
    async with stalled(gateway) as (slow, connection), await PipelineClient.connect(gateway, "group") as reader:
        said = await chatter(gateway, reader)
        heard: list[Any] = []
        with pytest.raises(ConnectionClosed) as end:
            await asyncio.wait_for(read_on(slow, heard), 10)
        assert end.value.rcvd is not None
        assert (end.value.rcvd.code, end.value.rcvd.reason) == (4108, "too slow")
        assert len(heard) < said
        await ended(gateway, connection)
