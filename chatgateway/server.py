"""uvicorn as the gateway needs it: a WebSocket protocol class of our own, and a stop that lets answers end.

What the protocol class adds to uvicorn's: frames written by reference without a task in between (`write`), a transport
that can be aborted when a peer no longer reads, invalid UTF-8 that closes with 1007 without a traceback, reading that
pauses only while much waits, and a log without query strings, which hold tokens.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import structlog
import uvicorn
from django.conf import settings
from django.utils.module_loading import import_string
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import HANDLED_SIGNALS

from chatgateway.http_protocol import GatewayHTTPProtocol, reset
from chatgateway.supervisor import SERVES
from integrations.outbound import EXTENSION, NO_PONG

log = structlog.get_logger(__name__)

INBOX = 32  # messages that wait for the app before reading from the peer pauses
INBOX_FRAMES = 2  # or so many of the largest size, counted in bytes
OTHER_DESCRIPTORS = 500  # files, databases, models and whatever else a process has open beside its connections
HANG_UP = 5.0  # seconds that a peer may take to read the rest once the application is done with him
KEEP_ALIVE = 75  # seconds that an HTTP connection waits for its next request: longer than a proxy (nginx: 60) keeps it
WRITE_BUFFER = 64 * 1024  # bytes in the transport's buffer above which frames wait with the consumer
COMING_PATIENCE = 1.0  # seconds after a stop in which a request or handshake that is on its way is still answered
PARTING_PATIENCE = 3.0  # seconds that peers have to read the rest and close, once the answers have ended
STOP_PATIENCE = 9.0  # seconds beside DRAIN_TIMEOUT in which a process that was told to stop has ended
LOOK = 0.05  # seconds between two looks at who is still there


class _Inbox:
    """The messages for the app, in place of uvicorn's queue: one reader, no lock, no task."""

    __slots__ = ("_items", "_waiter", "size")

    def __init__(self) -> None:
        self.size = 0  # bytes put in since it was last empty
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items

    def put_nowait(self, item: Any) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items.popleft()
        if not self._items:
            self.size = 0
        return item


class GatewayProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection; also the DirectTransport that its consumer writes to."""

    hang_up_patience = HANG_UP
    can_write = True
    on_writable: Callable[[], None] | None = None
    on_pong: Callable[[int], None] | None = None
    _pings = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inbox = _Inbox()
        self._inbox_bytes = INBOX_FRAMES * settings.MAX_FRAME_BYTES
        self.queue = self._inbox  # type: ignore[assignment]  # the part of a queue that this class uses

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            # Too long or not HTTP: uvicorn would leave the peer waiting.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        # Closing waits for what is unsent, and who reads no more would hold his place for ever.
        self.loop.call_later(self.hang_up_patience, reset, self.transport)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused: uvicorn would log a fault of the application

    @property
    def is_coming(self) -> bool:
        """Whether the handshake is not over yet."""
        return not self.handshake_complete

    # --- DirectTransport -------------------------------------------------------------------------

    def write(self, frame: bytes) -> None:
        """Write a whole frame, encoded already; a connection that is closing drops it."""
        if self.handshake_complete and not self.close_sent and not self.disconnected:
            self.transport.write(frame)

    @property
    def unsent(self) -> int:
        """The bytes in the transport's buffer."""
        return self.transport.get_write_buffer_size()

    def ping(self) -> int:
        """Ping the peer and return the ping's number, which `on_pong` hears once it has read everything up to here."""
        self._pings += 1
        if self.handshake_complete and not self.close_sent and not self.disconnected and not self.conn.close_rcvd:
            self.conn.send_ping(struct.pack("!Q", self._pings))  # uvicorn's own hold four bytes
            self.transport.write(b"".join(self.conn.data_to_send()))
        return self._pings

    def abort(self) -> None:
        """Drop the connection with what is still unsent: a close frame would wait behind it for ever."""
        reset(self.transport)

    def pause_writing(self) -> None:
        self.can_write = False
        super().pause_writing()

    def resume_writing(self) -> None:
        self.can_write = True
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    def handle_ping(self) -> None:
        """Answer a ping, but not one who does not read: his pongs would pile up in memory."""
        pong = b"".join(self.conn.data_to_send())
        if self.can_write:
            self.transport.write(pong)

    def handle_pong(self, event: Any) -> None:
        """Tell whoever waits for it."""
        if len(event.data) != 8:
            super().handle_pong(event)
        elif self.on_pong is not None:
            self.on_pong(struct.unpack("!Q", event.data)[0])

    def keepalive_timeout(self) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": NO_PONG})
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():
            reset(self.transport)  # closing would wait for ever for what the peer does not read

    # --- Reading ---------------------------------------------------------------------------------

    def handle_text(self, event: Any) -> None:
        super().handle_text(event)
        event.data = b""  # the parser keeps its last frame until the next one comes

    def handle_bytes(self, event: Any) -> None:
        super().handle_bytes(event)
        event.data = b""

    def handle_cont(self, event: Any) -> None:
        """Keep fragments in one buffer: a list of ever so many empty ones would grow without end."""
        parts: list[Any] = self.frames
        if not isinstance(parts[0], bytearray):
            parts[0] = bytearray(parts[0])
        parts[0] += event.data
        event.data = b""
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        data = self.frames[0]
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": str(data, "utf-8")})
            except UnicodeDecodeError:
                self.conn.fail(1007, "invalid UTF-8")
                self.handle_parser_exception()
                return
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": bytes(data)})
        self._inbox.size += len(data)
        if not self.read_paused and (len(self._inbox) >= INBOX or self._inbox.size >= self._inbox_bytes):
            self.read_paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.can_write = True
        self.on_writable = None
        self.on_pong = None


class GatewayServer(uvicorn.Server):
    """A uvicorn server that lets answers end, and then its peers go, before it closes what is left.

    A supervisor's worker has one end of two pipes: `until` tells it that the supervisor is gone, `news` tells him that
    it serves, and by its end that it takes no more connections.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        answers: Callable[[], int],
        drain: Callable[[], Awaitable[None]],
        part: Callable[[], None],
        until: int | None,
        news: int | None,
    ) -> None:
        super().__init__(config)
        self._answers = answers
        self._drain = drain
        self._part = part
        self._until = until
        self._news = news

    async def startup(self, sockets: Any = None) -> None:
        """Start, then keep what is loaded out of every later garbage collection."""
        await super().startup(sockets=sockets)
        loop = asyncio.get_running_loop()
        if self._until is not None:
            loop.add_reader(self._until, self._on_supervisor_gone)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # else a terminal's, which ends what runs in it
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        freeze()
        if self._news is not None:
            with suppress(BrokenPipeError):  # the supervisor is gone, as `until` tells
                os.write(self._news, SERVES)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; the next signal ends the process at once, but for a worker, which its supervisor ends."""
        super().handle_exit(sig, frame)
        if self._until is None:
            for number in HANDLED_SIGNALS:
                signal.signal(number, _end_at_once)

    def _on_hangup(self) -> None:
        log.warning("server.not_restarted", means="a rolling restart needs two workers; SIGHUP is for their supervisor")

    def _on_supervisor_gone(self) -> None:
        if self._until is not None:
            asyncio.get_running_loop().remove_reader(self._until)
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new connections, let answers end, part with everybody, then close what is left."""
        log.info("gateway.draining", answers=self._answers(), seconds=settings.DRAIN_TIMEOUT)
        _end_after(settings.DRAIN_TIMEOUT + STOP_PATIENCE)
        for server in self.servers:
            server.close()
        if self._news is not None:
            os.close(self._news)
        for call in self._calls():
            call.retire()
        await self._wait_while(lambda: any(peer.is_coming for peer in self._peers()), COMING_PATIENCE)
        await self._drain()
        self._part()
        for call in self._calls():
            call.shutdown()
        await self._wait_while(lambda: bool(self.server_state.connections), PARTING_PATIENCE)
        for call in self._calls():
            reset(call.transport)  # who does not read would be waited for, and then logged as a fault
        await super().shutdown(sockets=sockets)

    def _peers(self) -> list[GatewayHTTPProtocol | GatewayProtocol]:
        return list(self.server_state.connections)  # type: ignore[arg-type]  # of the classes that `run` names

    def _calls(self) -> list[GatewayHTTPProtocol]:
        return [peer for peer in self._peers() if isinstance(peer, GatewayHTTPProtocol)]

    async def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while condition() and time.monotonic() < end:  # noqa: ASYNC110  uvicorn tells nobody of an end
            await asyncio.sleep(LOOK)


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """End this process by the signal that came a second time."""
    signal.signal(number, signal.SIG_DFL)
    log.warning("server.killed", means="a second signal came: answers and sockets are cut off")
    os.kill(os.getpid(), number)


def _end_after(seconds: float) -> None:
    """End this process in `seconds`, whatever it still waits for."""

    def end() -> None:
        log.error("server.killed", means=f"it had not stopped {seconds:g} s after it was told to")
        os._exit(1)

    last = threading.Timer(seconds, end)
    last.daemon = True
    last.start()


def _raise_descriptor_limit() -> None:
    """Let this process open as many sockets as its bound on connections and the system allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.MAX_CONNECTIONS + OTHER_DESCRIPTORS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning(
            "server.few_descriptors",
            limit=most,
            wanted=wanted,
            means="raise the limit (ulimit -n) or lower MAX_CONNECTIONS",
        )


def freeze() -> None:
    """Keep what is loaded out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def load() -> None:
    """Import all that serves: a fault in a view is found before anybody is told that this serves."""
    import chatgateway.urls  # noqa: F401, PLC0415  builds the gateway: only where it is served

    import_string(settings.ASGI_APPLICATION)


def run(listener: socket.socket, *, until: int | None = None, news: int | None = None) -> None:
    """Serve on `listener` until a signal, or until the other end of the pipe `until` is closed; tell so on `news`."""
    load()
    from chatgateway.routing import gateway  # noqa: PLC0415  builds the gateway: only where it is served

    config = uvicorn.Config(
        import_string(settings.ASGI_APPLICATION),
        loop="uvloop",
        http=partial(GatewayHTTPProtocol, metrics=gateway.metrics),  # type: ignore[arg-type]  # it is only called
        ws=GatewayProtocol,
        ws_max_size=settings.MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.PING_INTERVAL,
        ws_ping_timeout=settings.PING_TIMEOUT,
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=2,
    )
    _raise_descriptor_limit()
    server = GatewayServer(
        config,
        answers=lambda: gateway.turns.running,
        drain=gateway.drain,
        part=gateway.part,
        until=until,
        news=news,
    )
    # The writer's thread and the loop take turns often: each statement waits so long for an interpreter that is busy.
    sys.setswitchinterval(0.0001)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
