"""Plain HTTP as the gateway needs it. Every connection begins here, also one that becomes a WebSocket.

What this adds to uvicorn's protocol: a request must come to its end in time, its head is bounded, and so is the number
of connections that are open at all, whatever they are doing.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Any

import structlog
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from connections.metrics import DEAD_PEER, SHED, Metrics

log = structlog.get_logger(__name__)

HEAD_BYTES = 64 * 1024  # of a request's line and headers, and of what is neither between two pieces of its body
BODY_PROGRESS = 10 * 1024  # bytes of a body that must come in each REQUEST_TIMEOUT
PIPELINED = 16  # requests that wait for the answer to the one before
PROBES = 3  # unanswered by the peer's machine, after which the kernel gives a connection up
SURPLUS_PATIENCE = 1.0  # seconds that a connection beyond the bound has to ask and be told
FULL = (503, b"503 Service Unavailable", b"Connection limit reached")
# Answered also beyond the bound: whoever restarts a gateway that is full makes everybody come at once.
ANSWERED_WHEN_FULL = (b"GET /healthz ", b"GET /metrics ")
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close by a reset


class GatewayHTTPProtocol(HttpToolsProtocol):
    """One connection until it closes or becomes a WebSocket."""

    def __init__(self, *args: Any, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._surplus = self._heard = self._retired = False
        self._begun = False  # a request has begun and not come to its end
        self._answering: RequestResponseCycle | None = None
        self._unfinished = 0  # bytes since the last head, piece of a body, or request came to its end
        self._body = 0  # bytes of bodies since the timer was set
        self._unsent = 0  # bytes of answers that the peer had still to read then

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        _probe(transport.get_extra_info("socket"))
        self._surplus = len(self.connections) > settings.MAX_CONNECTIONS
        self._timer = self.loop.call_later(
            SURPLUS_PATIENCE if self._surplus else settings.REQUEST_TIMEOUT, self._expired
        )

    def data_received(self, data: bytes) -> None:
        if self._surplus and not self._heard and not data.startswith(ANSWERED_WHEN_FULL):
            self._refuse(*FULL)
            return
        self._heard = True
        self._unfinished += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unfinished > HEAD_BYTES:
            self._refuse(431, b"431 Request Header Fields Too Large", b"The request's headers are too large")
        elif len(self.pipeline) > PIPELINED:
            self._drop()

    def handle_websocket_upgrade(self) -> None:
        if self._surplus:  # it asked for its health first
            self._refuse(*FULL)
            return
        self._stop_timer()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._answering is not None:
            # uvicorn tells only the last request of those that came together; this one would go on writing.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    # --- When the server stops -------------------------------------------------------------------

    @property
    def is_coming(self) -> bool:
        """Whether a request could be on its way, which an end of the connection would meet."""
        return self._answering is None or self._answering.response_complete

    def retire(self) -> None:
        """Say with the next answer that it is the last one of this connection."""
        self._retired = True
        if self._answering is not None and not self.pipeline:
            self._answering.keep_alive = False

    # --- How far a request has come --------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True
        self._set_timer()

    def on_headers_complete(self) -> None:
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = 0
        self._begun = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # uvicorn's own limit on an idle connection ends with the next byte, whatever it is.
        self._set_timer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if self._retired and not self.pipeline:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    # --- Limits ----------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if not self._surplus:
            self._stop_timer()
            self._body = 0
            self._unsent = self._unread()
            self._timer = self.loop.call_later(settings.REQUEST_TIMEOUT, self._expired)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        """Drop a client that is slow, unless it waits for us, its body comes on, or it reads on.

        Between two requests there is nothing to be slow with: uvicorn's own limit ends a connection that rests.
        """
        cycle = self._answering
        if self._rests():
            patience = True
        elif self.transport.get_write_buffer_size():
            patience = self._unread() != self._unsent
        else:
            patience = (
                cycle is not None
                and not cycle.response_complete
                and (not cycle.more_body or self.flow.read_paused or self._body >= BODY_PROGRESS)
            )
        if patience and not self._surplus:
            self._set_timer()
            return
        what = "sending the request"
        if cycle is not None and (cycle.response_complete or not cycle.more_body):
            what = "reading the answer"
            self._metrics.count(DEAD_PEER, "http")
        log.info("connection.timed_out", address=self.client[0] if self.client else "", what=what)
        self._drop()

    def _rests(self) -> bool:
        """Tell whether the last answer was taken, and nothing of a next request has come."""
        is_over = self._answering is not None and self._answering.response_complete
        return is_over and not self._begun and not self._unfinished and not self._unread()

    def _unread(self) -> int:
        """Return the bytes of answers that the peer's machine has not taken yet: ours and the kernel's.

        The kernel takes from us in large pieces only, so ours alone stand still while a slow peer reads on.
        """
        kernel = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)

    def _drop(self) -> None:
        """End the connection at once: closing would wait for what the peer does not read."""
        if self._answering is not None:
            self._answering.disconnected = True
        reset(self.transport)

    def _refuse(self, status: int, line: bytes, text: bytes) -> None:
        if status == FULL[0]:
            self._metrics.count(SHED, "connections")
        log.info(
            "connection.refused", status=status, reason=text.decode(), address=self.client[0] if self.client else ""
        )
        retry = b"Retry-After: 5\r\n" if status == 503 else b""
        self.transport.write(
            b"HTTP/1.1 %b\r\n%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b" % (line, retry, len(text), text)
        )
        self.transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection with all that is unsent, also what the kernel has: it would keep that for many minutes."""
    peer = transport.get_extra_info("socket")
    if peer.fileno() >= 0:  # it is not closed yet
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def _probe(peer: socket.socket) -> None:
    """Have the kernel find out that the peer's machine is gone: who waits for an answer may be silent until then."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(settings.PING_INTERVAL)))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(settings.PING_TIMEOUT / PROBES)))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
