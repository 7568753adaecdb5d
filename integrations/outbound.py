"""The frames on their way to one socket: bounded by bytes, newest state of an answer first.

Where the server offers a `DirectTransport` (uvicorn with our protocol class), a frame is written at once and by
reference: the same bytes go to every socket. Elsewhere (Daphne) a task sends what waits.

While the peer does not read, frames wait here. A frame with a `key` replaces the one waiting under the same key (an
answer's cumulative deltas), and what would hold more than `limit` bytes of memory ends the connection as too slow.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from connections.metrics import Metrics

Send = Callable[[dict[str, Any]], Awaitable[None]]


class DirectTransport(Protocol):
    """What our server's WebSocket protocol offers in the scope's extensions, under EXTENSION."""

    can_write: bool
    unsent: int  # bytes that it has taken and the kernel has not
    on_writable: Callable[[], None] | None
    on_pong: Callable[[int], None] | None  # hears the number of a ping, and that all before it was read

    def write(self, frame: bytes) -> None: ...
    def ping(self) -> int: ...
    def abort(self) -> None: ...


EXTENSION = "chatgateway.direct"
OVERHEAD = 256  # bytes that a waiting frame costs beside its own: a million small ones would be four times a large one
GAPS = 8  # what waits costs an eighth more than its bytes: gaps in the heap, frames sent in part, the connection
NO_PONG = "does not answer pings"  # the reason of a disconnect with 1006, where that is how our server knows


class Frame:
    """One text message, encoded once, for any number of sockets.

    `wire` is the message as a WebSocket frame from a server: final, text, unmasked (RFC 6455, 5.2). Only that is kept:
    frames that wait are most of what a slow reader costs, and an encoder's bytes hold a quarter more than they say.
    """

    __slots__ = ("key", "last", "size", "wire")

    def __init__(self, payload: bytes, key: object = None, *, last: bool = False) -> None:
        size = len(payload)
        if size < 126:
            self.wire = b"\x81" + bytes((size,)) + payload
        elif size < 65536:
            self.wire = b"\x81\x7e" + struct.pack("!H", size) + payload
        else:
            self.wire = b"\x81\x7f" + struct.pack("!Q", size) + payload
        self.size = size
        self.key = key
        self.last = last

    @property
    def payload(self) -> bytes:
        """The message itself."""
        return self.wire[len(self.wire) - self.size :]


def _uncounted(size: int) -> None:
    """Count nothing: the connection is not registered yet."""


class Outbound:
    """One socket's outbound buffer; `too_slow` is called once, when more than `limit` bytes would be held."""

    __slots__ = (
        "_bytes",
        "_closed",
        "_direct",
        "_drained",
        "_limit",
        "_metrics",
        "_number",
        "_send",
        "_task",
        "_too_slow",
        "_waiting",
        "_wake",
        "on_sent",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        direct: DirectTransport | None,
        *,
        limit: int,
        too_slow: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._send = send
        self._direct = direct
        self._limit = limit
        self._too_slow = too_slow
        self._metrics = metrics
        self.on_sent: Callable[[int], None] = _uncounted
        self._waiting: dict[object, Frame] = {}
        self._bytes = 0
        self._number = 0
        self._closed = False
        self._drained: asyncio.Event | None = None
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        if direct is not None:
            direct.on_writable = self._drain

    def push(self, frame: Frame) -> None:
        """Send a frame as soon as the peer takes it."""
        if self._closed:
            return
        direct = self._direct
        if direct is None:
            self._wait(frame)
            self._wake_writer()
        elif direct.can_write and not self._waiting:
            direct.write(frame.wire)
            self.on_sent(frame.size)
        else:
            self._wait(frame)

    async def flush(self) -> None:
        """Take no more frames, and wait until everything has been handed to the server."""
        self._closed = True
        if self._task is not None:
            self._wake_writer()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()
        else:
            await self.drained()

    async def drained(self) -> None:
        """Wait until nothing waits here, or the buffer is closed."""
        if self._waiting:
            if self._drained is None:
                self._drained = asyncio.Event()
            await self._drained.wait()

    def lost(self) -> None:
        """End the connection as too slow: something for it could not be kept."""
        if not self._closed:
            self.close()
            self._too_slow()

    def close(self) -> None:
        """Take no more frames and forget those that wait."""
        self._closed = True
        self._waiting.clear()
        self._count(-self._bytes)
        if self._direct is not None:
            self._direct.on_writable = None
        self._tell_drained()
        if self._task is not None:
            self._task.cancel()

    def _wait(self, frame: Frame) -> None:
        key = frame.key
        if key is None:
            self._number += 1
            key = self._number
        elif (older := self._waiting.get(key)) is not None:
            if older.last:
                return  # the end of an answer is not taken back by a delta that comes late
            del self._waiting[key]
            self._count(-older.size)
        if self._would_be_too_much(frame):
            self.lost()
            return
        self._waiting[key] = frame
        self._count(frame.size)

    def _would_be_too_much(self, frame: Frame) -> bool:
        """Tell whether more memory than the bound would be held; what the server has still to send counts too."""
        if not self._waiting:  # it goes next, however large it may be
            return frame.size > self._limit
        unsent = self._direct.unsent if self._direct is not None else 0
        held = self._bytes + frame.size + unsent
        return held + held // GAPS + (len(self._waiting) + 1) * OVERHEAD > self._limit

    def _take(self) -> Frame:
        frame = self._waiting.pop(next(iter(self._waiting)))
        self._count(-frame.size)
        return frame

    def _count(self, size: int) -> None:
        self._bytes += size
        self._metrics.outbound_bytes += size

    def _drain(self) -> None:
        direct = self._direct
        assert direct is not None
        while self._waiting and direct.can_write:
            frame = self._take()
            direct.write(frame.wire)
            self.on_sent(frame.size)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._waiting:
            self._drained.set()
            self._drained = None

    def _wake_writer(self) -> None:
        if self._task is None:
            self._wake = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._write())
        assert self._wake is not None
        self._wake.set()

    async def _write(self) -> None:
        assert self._wake is not None
        while self._waiting or not self._closed:
            while self._waiting:
                frame = self._take()
                await self._send({"type": "websocket.send", "text": frame.payload.decode()})
                self.on_sent(frame.size)
            self._tell_drained()
            self._wake.clear()
            if not self._closed:
                await self._wake.wait()
