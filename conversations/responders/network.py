"""httpcore2's network on plain asyncio transports.

Its own goes through anyio: a stack of layers for every piece that is read, and, at every request, a system call for
each idle connection to learn whether its server has left. Here the loop tells.
"""

import asyncio
import math
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore2

MAX_UNREAD = 64 * 1024  # bytes received and not read yet; past it the server is not read from
MAX_UNSENT = 64 * 1024  # bytes of a request that are kept to leave in one piece

_TOO_LATE = "the server said nothing more in time"
_EXTRA_INFO = {"client_addr": "sockname", "server_addr": "peername"}


class Stream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """One connection, read by one task at a time.

    A read that would wait past `read_by` (on the loop's clock) raises ReadTimeout. Whoever reads may move it at every
    piece for next to nothing: the timer is set when a read waits, and looks again when it rings. A new request
    clears it.
    """

    def __init__(self) -> None:
        self.read_by = math.inf
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._unread = bytearray()
        self._paused = False
        self._ended = False
        self._failure: Exception | None = None
        self._reading: asyncio.Future[bool] | None = None  # False: it came too late
        self._alarm: asyncio.TimerHandle | None = None
        self._unsent = bytearray()
        self._send_timeout: float | None = None
        self._draining: asyncio.Future[bool] | None = None

    # --- For httpcore2 ---------------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore2's
        """Return what was received, waiting for it if need be; nothing at the end."""
        if self._unsent:
            await self._send()
        if timeout is not None:
            self.read_by = self._loop.time() + timeout
        if not self._unread and not self._ended:
            await self._receive()
        if not self._unread and self._failure is not None:
            raise httpcore2.ReadError(str(self._failure)) from self._failure
        data = bytes(self._unread[:max_bytes])
        del self._unread[:max_bytes]
        if self._paused and not self._ended and len(self._unread) < MAX_UNREAD:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  httpcore2's
        """Keep bytes until the next read, so that the head and the body of a request leave in one piece."""
        self.read_by = math.inf
        self._unsent += buffer
        self._send_timeout = timeout
        if len(self._unsent) > MAX_UNSENT:
            await self._send()

    async def aclose(self) -> None:
        """Hang up at once."""
        self._hang_up()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore2's
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypt from here on; raise ConnectError or ConnectTimeout, with the connection closed."""
        try:
            async with asyncio.timeout(timeout):
                transport = await self._loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            self._hang_up()
            raise httpcore2.ConnectTimeout("the server did not agree on TLS in time") from error
        except OSError as error:
            self._hang_up()
            raise httpcore2.ConnectError(str(error)) from error
        except BaseException:
            self._hang_up()
            raise
        if transport is None:
            raise httpcore2.ConnectError("the connection was lost")
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore2 asks about; an idle connection is readable when its server has left."""
        if info == "is_readable":
            return self._ended or bool(self._unread)
        return self._transport.get_extra_info(_EXTRA_INFO.get(info, info))

    # --- For the loop ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has the methods, not the class

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) >= MAX_UNREAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> None:
        """Note the end; the loop then closes the transport."""
        self._ended = True
        _wake(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._failure = self._failure or exc
        self._stop_alarm()
        _wake(self._reading)
        _wake(self._draining)

    def pause_writing(self) -> None:
        self._draining = self._loop.create_future()

    def resume_writing(self) -> None:
        _wake(self._draining)
        self._draining = None

    # --- Within ----------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Send what is kept, as far as the server takes it; that it has left shows at the next read."""
        data = bytes(self._unsent)
        self._unsent.clear()
        if self._ended:
            return
        self._transport.write(data)
        if self._draining is not None:
            try:
                async with asyncio.timeout(self._send_timeout):
                    await self._draining
            except TimeoutError as error:
                raise httpcore2.WriteTimeout("the server did not take the request in time") from error

    async def _receive(self) -> None:
        """Wait until something was received or the connection ended; raise ReadTimeout."""
        if self._loop.time() >= self.read_by:
            raise httpcore2.ReadTimeout(_TOO_LATE)  # or a server that never pauses would never be late
        self._set_alarm()
        self._reading = self._loop.create_future()
        try:
            if not await self._reading:
                raise httpcore2.ReadTimeout(_TOO_LATE)
        finally:
            self._reading = None

    def _set_alarm(self) -> None:
        """Let the alarm ring at `read_by`, or before: it then looks again."""
        if self._alarm is not None and self._alarm.when() > self.read_by:
            self._stop_alarm()
        if self._alarm is None and self.read_by != math.inf:
            self._alarm = self._loop.call_at(self.read_by, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._reading is None or self._reading.done():
            return
        if self._loop.time() < self.read_by:
            self._set_alarm()
        else:
            self._reading.set_result(False)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _hang_up(self) -> None:
        if not self._ended:
            self._ended = True
            self._failure = ConnectionAbortedError("the connection was closed here")
            _wake(self._reading)
        self._stop_alarm()
        self._transport.abort()


class StreamBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses over TCP."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Return a connection to `host`; raise ConnectError or ConnectTimeout."""
        local = None if local_address is None else (local_address, 0)
        try:
            async with asyncio.timeout(timeout):
                transport, stream = await asyncio.get_running_loop().create_connection(
                    Stream, host, port, local_addr=local
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the server cannot be reached in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return stream


def _wake(waiting: "asyncio.Future[bool] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(True)
