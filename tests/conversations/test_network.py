"""The network stream below the outgoing client, on asyncio's loop and on the one that serves."""

import asyncio
import hashlib
import math
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import httpcore2
import pytest
import uvloop

from conversations.responders.network import MAX_UNREAD, MAX_UNSENT, Stream, StreamBackend
from tests.faults.model import closed_port
from tests.support.listening import close_listener
from tests.support.tls import self_signed

Run = Callable[[Coroutine[Any, Any, None]], None]
Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a scenario to its end on one of the loops; one that hangs fails."""

    def bounded(scenario: Coroutine[Any, Any, None]) -> None:
        request.param(asyncio.wait_for(scenario, 10))

    return bounded


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's TLS context for models.example."""
    return self_signed("models.example", tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def served(respond: Respond, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Give the port of a server that runs `respond` for each connection and then hangs up."""
    tasks: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(answer(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    await close_listener(server)
    await asyncio.gather(*tasks)
    await server.wait_closed()


@asynccontextmanager
async def connected(respond: Respond, context: ssl.SSLContext | None = None) -> AsyncIterator[Stream]:
    """Connect a stream to a server that runs `respond` and then hangs up."""
    async with served(respond, context) as port:
        stream = cast(Stream, await StreamBackend().connect_tcp("127.0.0.1", port, timeout=5.0))
        try:
            yield stream
        finally:
            await stream.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition()` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the state of a stream, which sets no event
            await asyncio.sleep(0)


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the client leaves."""
    while await reader.read(65536):
        pass


async def read_all(stream: Stream) -> bytes:
    return b"".join([data async for data in pieces(stream)])


async def pieces(stream: Stream) -> AsyncIterator[bytes]:
    while data := await stream.read(65536):
        yield data


def test_head_and_body_leave_in_one_piece_when_the_answer_is_read(run: Run) -> None:
    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))

        async with connected(respond) as stream:
            await stream.write(b"head ")
            await stream.write(b"body")
            await stream.write(b"")
            assert await stream.read(100) == b"head body"
            assert await stream.read(100) == b""

    run(scenario())


def test_big_request_leaves_before_it_is_whole(run: Run) -> None:
    async def scenario() -> None:
        taken = asyncio.Event()

        async def respond(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.readexactly(MAX_UNSENT + 1)
            taken.set()

        async with connected(respond) as stream:
            await stream.write(b"x" * (MAX_UNSENT + 1), timeout=5.0)
            await taken.wait()

    run(scenario())


def test_server_that_takes_no_request_is_a_write_timeout(run: Run) -> None:
    async def scenario() -> None:
        left = asyncio.Event()

        async def respond(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            await left.wait()

        async with connected(respond) as stream:
            with pytest.raises(httpcore2.WriteTimeout):
                await stream.write(b"x" * 32_000_000, timeout=0.05)
            left.set()

    run(scenario())


def test_request_that_the_server_takes_slowly_arrives_whole(run: Run) -> None:
    body = os.urandom(4_000_000)

    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(hashlib.sha256(await reader.readexactly(len(body))).digest())

        async with connected(respond) as stream:
            await stream.write(body, timeout=5.0)
            assert await stream.read(100) == hashlib.sha256(body).digest()

    run(scenario())


def test_read_gives_no_more_than_asked_for(run: Run) -> None:
    async def scenario() -> None:
        async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"abcdef")

        async with connected(respond) as stream:
            assert [data async for data in _by_four(stream)] == [b"abcd", b"ef"]

    async def _by_four(stream: Stream) -> AsyncIterator[bytes]:
        await until(lambda: len(stream._unread) == 6)
        while data := await stream.read(4):
            yield data

    run(scenario())


def test_server_is_not_read_from_while_nobody_reads(run: Run) -> None:
    body = os.urandom(8_000_000)

    async def scenario() -> None:
        async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(body)
            await writer.drain()

        async with connected(respond) as stream:
            await until(lambda: stream._paused)
            held = len(stream._unread)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(stream._unread) == held < MAX_UNREAD + 512 * 1024
            assert await read_all(stream) == body

    run(scenario())


def test_idle_connection_is_readable_once_its_server_has_left(run: Run) -> None:
    async def scenario() -> None:
        leave = asyncio.Event()

        async def respond(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            await leave.wait()

        async with connected(respond) as stream:
            assert stream.get_extra_info("is_readable") is False
            leave.set()
            await until(lambda: stream.get_extra_info("is_readable") is True)

    run(scenario())


def test_idle_connection_is_readable_when_its_server_speaks_unasked(run: Run) -> None:
    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
            await silence(reader, writer)

        async with connected(respond) as stream:
            await until(lambda: stream.get_extra_info("is_readable") is True)

    run(scenario())


def test_reset_is_a_read_error_after_what_was_received(run: Run) -> None:
    async def scenario() -> None:
        reset = asyncio.Event()

        async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"half")
            await reset.wait()
            # Lingering for no time makes the close a reset.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        async with connected(respond) as stream:
            await until(lambda: bool(stream._unread))
            reset.set()
            await until(lambda: stream._failure is not None)
            assert await stream.read(100) == b"half"
            with pytest.raises(httpcore2.ReadError):
                await stream.read(100)

    run(scenario())


def test_request_to_a_server_that_has_left_ends_at_once(run: Run) -> None:
    async def scenario() -> None:
        async def respond(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
            return

        async with connected(respond) as stream:
            await until(lambda: stream.get_extra_info("is_readable") is True)
            await stream.write(b"hello?")
            assert await stream.read(100) == b""

    run(scenario())


def test_closing_ends_a_read_that_waits(run: Run) -> None:
    async def scenario() -> None:
        async with connected(silence) as stream:
            reading = asyncio.ensure_future(stream.read(100))
            await until(lambda: stream._reading is not None)
            await stream.aclose()
            with pytest.raises(httpcore2.ReadError):
                await reading

    run(scenario())


def test_cancelled_read_loses_nothing(run: Run) -> None:
    async def scenario() -> None:
        speak = asyncio.Event()

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await speak.wait()
            writer.write(b"words")

        async with connected(respond) as stream:
            reading = asyncio.ensure_future(stream.read(100))
            await until(lambda: stream._reading is not None)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            speak.set()
            assert await stream.read(100) == b"words"

    run(scenario())


# --- In time -------------------------------------------------------------------------------------


def test_read_that_waits_too_long_is_a_read_timeout(run: Run) -> None:
    async def scenario() -> None:
        async with connected(silence) as stream:
            stream.read_by = asyncio.get_running_loop().time() + 0.02
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(100)
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(100, timeout=0.02)

    run(scenario())


def test_read_may_be_given_more_time_and_less(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"soon")
            # Later than the first limit, sooner than the second.
            loop.call_later(0.1, writer.write, b"late")
            await silence(reader, writer)

        async with connected(respond) as stream:
            stream.read_by = loop.time() + 0.05
            await until(lambda: bool(stream._unread))
            assert await stream.read(100) == b"soon"
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(100)
            stream.read_by = loop.time() + 60
            assert await stream.read(100) == b"late"
            stream.read_by = loop.time() + 0.02
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(100)

    run(scenario())


def test_limit_moved_while_its_alarm_is_set_holds(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        server: list[asyncio.StreamWriter] = []

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.append(writer)
            await silence(reader, writer)

        async with connected(respond) as stream:
            await until(lambda: bool(server))
            stream.read_by = loop.time() + 0.03
            reading = asyncio.ensure_future(stream.read(100))
            await until(lambda: stream._alarm is not None)
            alarm = stream._alarm
            server[0].write(b"one")
            assert await reading == b"one"
            stream.read_by = loop.time() + 60
            reading = asyncio.ensure_future(stream.read(100))
            await until(lambda: stream._alarm is not alarm)  # it rang, and was set again
            assert not reading.done()
            server[0].write(b"two")
            assert await reading == b"two"

    run(scenario())


def test_what_is_there_is_read_however_late(run: Run) -> None:
    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"words")
            await silence(reader, writer)

        async with connected(respond) as stream:
            await until(lambda: bool(stream._unread))
            stream.read_by = asyncio.get_running_loop().time() - 1
            assert await stream.read(100) == b"words"
            with pytest.raises(httpcore2.ReadTimeout):
                await stream.read(100)

    run(scenario())


def test_new_request_has_no_limit_of_the_last(run: Run) -> None:
    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))

        async with connected(respond) as stream:
            stream.read_by = asyncio.get_running_loop().time() - 1
            await stream.write(b"again")
            assert stream.read_by == math.inf
            assert await stream.read(100) == b"again"

    run(scenario())


# --- Connecting ----------------------------------------------------------------------------------


def test_closed_port_is_a_connect_error(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(httpcore2.ConnectError):
            await StreamBackend().connect_tcp("127.0.0.1", closed_port(), timeout=5.0)

    run(scenario())


def test_server_that_accepts_nobody_is_a_connect_timeout(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]  # fill its queue
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            with pytest.raises(httpcore2.ConnectTimeout):
                await StreamBackend().connect_tcp("127.0.0.1", port, timeout=0.1)
            for sock in waiting:
                sock.close()

    run(scenario())


def test_own_address_and_socket_options_are_used(run: Run) -> None:
    async def scenario() -> None:
        keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with served(silence) as port:
            stream = await StreamBackend().connect_tcp(
                "127.0.0.1", port, local_address="127.0.0.2", socket_options=[keep_alive]
            )
            assert stream.get_extra_info("client_addr")[0] == "127.0.0.2"
            assert stream.get_extra_info("server_addr") == ("127.0.0.1", port)
            assert stream.get_extra_info("socket").getsockopt(*keep_alive[:2]) == 1
            assert stream.get_extra_info("ssl_object") is None
            await stream.aclose()

    run(scenario())


# --- TLS -----------------------------------------------------------------------------------------


def test_words_are_read_through_tls(run: Run, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    serving, trusting = contexts
    body = os.urandom(3_000_000)

    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readexactly(5) == b"hello"
            writer.write(body)
            await writer.drain()

        async with connected(respond, serving) as stream:
            assert await stream.start_tls(trusting, "models.example", timeout=5.0) is stream
            assert stream.get_extra_info("ssl_object") is not None
            assert stream.get_extra_info("is_readable") is False
            await stream.write(b"hello")
            stream.read_by = asyncio.get_running_loop().time() + 5
            assert await read_all(stream) == body

    run(scenario())


def test_server_that_shakes_no_hands_is_a_connect_timeout(
    run: Run, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def scenario() -> None:
        async with connected(silence) as stream:
            with pytest.raises(httpcore2.ConnectTimeout):
                await stream.start_tls(contexts[1], "models.example", timeout=0.05)

    run(scenario())


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_server_that_speaks_no_tls_is_a_connect_error(
    words: bytes, run: Run, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def scenario() -> None:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(words)

        async with connected(respond) as stream:
            with pytest.raises(httpcore2.ConnectError):
                await stream.start_tls(contexts[1], "models.example", timeout=5.0)

    run(scenario())


def test_cancelled_handshake_hangs_up(run: Run, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def scenario() -> None:
        shaking, left = asyncio.Event(), asyncio.Event()

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            shaking.set()
            await silence(reader, writer)
            left.set()

        async with connected(respond) as stream:
            task = asyncio.ensure_future(stream.start_tls(contexts[1], "models.example", timeout=5.0))
            await shaking.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await left.wait()

    run(scenario())
