"""uvicorn as the gateway needs it: a WebSocket protocol class of our own, and a stop that lets answers end.

What the protocol class adds to uvicorn's: frames written by reference without a task in between (`write`), a transport
that can be aborted when a peer no longer reads, invalid UTF-8 that closes with 1007 without a traceback, reading that
pauses only while much waits, and a log without query strings, which hold tokens.
"""

import asyncio
import gc
import resource
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
import uvicorn
from django.conf import settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatgateway.http_protocol import GatewayHTTPProtocol
from integrations.outbound import EXTENSION

log = structlog.get_logger(__name__)

INBOX = 32  # messages that wait for the app before reading from the peer pauses
INBOX_FRAMES = 2  # or so many of the largest size, counted in bytes
OTHER_DESCRIPTORS = 500  # files, databases, models and whatever else a process has open beside its connections
HANG_UP = 5.0  # seconds that a peer may take to read the rest once the application is done with him
WRITE_BUFFER = 64 * 1024  # bytes in the transport's buffer above which frames wait with the consumer


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
        self.loop.call_later(self.hang_up_patience, self.transport.abort)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused: uvicorn would log a fault of the application

    # --- DirectTransport -------------------------------------------------------------------------

    def write(self, frame: bytes) -> None:
        """Write a whole frame, encoded already; a connection that is closing drops it."""
        if self.handshake_complete and not self.close_sent and not self.disconnected:
            self.transport.write(frame)

    def ping(self) -> int:
        """Ping the peer and return the ping's number, which `on_pong` hears once it has read everything up to here."""
        self._pings += 1
        if self.handshake_complete and not self.close_sent and not self.disconnected and not self.conn.close_rcvd:
            self.conn.send_ping(struct.pack("!Q", self._pings))  # uvicorn's own hold four bytes
            self.transport.write(b"".join(self.conn.data_to_send()))
        return self._pings

    def abort(self) -> None:
        """Drop the connection with what is still unsent: a close frame would wait behind it for ever."""
        self.transport.abort()

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
        super().keepalive_timeout()
        if not self.can_write:
            self.transport.abort()  # closing would wait for ever for what the peer does not read

    # --- Reading ---------------------------------------------------------------------------------

    def handle_cont(self, event: Any) -> None:
        """Keep fragments in one buffer: a list of ever so many empty ones would grow without end."""
        parts: list[Any] = self.frames
        if not isinstance(parts[0], bytearray):
            parts[0] = bytearray(parts[0])
        parts[0] += event.data
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
    """A uvicorn server that lets answers in flight end before it closes the sockets."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]], until: int | None) -> None:
        super().__init__(config)
        self._drain = drain
        self._until = until

    async def startup(self, sockets: Any = None) -> None:
        """Start, then keep what is loaded out of every later garbage collection."""
        await super().startup(sockets=sockets)
        if self._until is not None:
            asyncio.get_running_loop().add_reader(self._until, self._supervisor_gone)
        gc.collect()
        gc.freeze()

    def _supervisor_gone(self) -> None:
        if self._until is not None:
            asyncio.get_running_loop().remove_reader(self._until)
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Take no new connections, drain, then close."""
        for server in self.servers:
            server.close()
        await self._drain()
        await super().shutdown(sockets=sockets)


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


def run(listener: socket.socket, *, until: int | None = None) -> None:
    """Serve on `listener` until a signal, or until the other end of the pipe `until` is closed."""
    from chatgateway.asgi import application  # noqa: PLC0415  builds the gateway: only where it is served
    from chatgateway.routing import gateway  # noqa: PLC0415

    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=GatewayHTTPProtocol,
        ws=GatewayProtocol,
        ws_max_size=settings.MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )

    async def drain() -> None:
        await gateway.turns.drain(settings.DRAIN_TIMEOUT)

    _raise_descriptor_limit()
    server = GatewayServer(config, drain, until)
    # The writer's thread and the loop take turns often, or each statement would wait up to 5 ms for the interpreter.
    sys.setswitchinterval(0.0005)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
