"""Plain HTTP as the gateway needs it. Every connection begins here, also one that becomes a WebSocket.

What this adds to uvicorn's protocol: a request must come to its end in time, its head is bounded, and so is the number
of connections that are open at all, whatever they are doing.
"""

import asyncio
import fcntl
import sys
import termios
from typing import Any

import structlog
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

log = structlog.get_logger(__name__)

HEAD_BYTES = 64 * 1024  # of a request's line and headers, and of what is neither between two pieces of its body
BODY_PROGRESS = 10 * 1024  # bytes of a body that must come in each REQUEST_TIMEOUT
PIPELINED = 16  # requests that wait for the answer to the one before
SURPLUS_PATIENCE = 1.0  # seconds that a connection beyond the bound has to ask and be told
# Answered also beyond the bound: whoever restarts a gateway that is full makes everybody come at once.
FULL = (503, b"503 Service Unavailable", b"Connection limit reached")
LIVENESS = b"GET /healthz "


class GatewayHTTPProtocol(HttpToolsProtocol):
    """One connection until it closes or becomes a WebSocket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._surplus = self._heard = False
        self._answering: RequestResponseCycle | None = None
        self._unfinished = 0  # bytes since the last head, piece of a body, or request came to its end
        self._body = 0  # bytes of bodies since the timer was set
        self._unsent = 0  # bytes of answers that the peer had still to read then

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._surplus = len(self.connections) > settings.MAX_CONNECTIONS
        self._timer = self.loop.call_later(
            SURPLUS_PATIENCE if self._surplus else settings.REQUEST_TIMEOUT, self._expired
        )

    def data_received(self, data: bytes) -> None:
        if self._surplus and not self._heard and not data.startswith(LIVENESS):
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

    # --- How far a request has come --------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
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
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # uvicorn's own limit on an idle connection ends with the next byte, whatever it is.
        self._set_timer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
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
        """Drop a client that is slow, unless it waits for us, its body comes on, or it reads on."""
        cycle = self._answering
        if self.transport.get_write_buffer_size():
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
        what = "reading the answer" if self._answering else "sending the request"
        log.info("connection.timed_out", address=self.client[0] if self.client else "", what=what)
        self._drop()

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
        self.transport.abort()

    def _refuse(self, status: int, line: bytes, text: bytes) -> None:
        log.info(
            "connection.refused", status=status, reason=text.decode(), address=self.client[0] if self.client else ""
        )
        retry = b"Retry-After: 5\r\n" if status == 503 else b""
        self.transport.write(
            b"HTTP/1.1 %b\r\n%bContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%b" % (line, retry, len(text), text)
        )
        self.transport.close()
