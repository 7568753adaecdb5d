"""The frames on their way to one socket: bounded by bytes, newest state of an answer first.

Where the server offers a `DirectTransport` (uvicorn with our protocol class), a frame is written at once and by
reference: the same bytes go to every socket. Elsewhere (Daphne) a task sends what waits.

While the peer does not read, frames wait here. A frame with a `key` replaces the one waiting under the same key (an
answer's cumulative deltas), and what would go beyond `limit` bytes ends the connection as too slow.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Protocol

Send = Callable[[dict[str, Any]], Awaitable[None]]


class DirectTransport(Protocol):
    """What our server's WebSocket protocol offers in the scope's extensions, under EXTENSION."""

    can_write: bool
    on_writable: Callable[[], None] | None
    on_pong: Callable[[int], None] | None  # hears the number of a ping, and that all before it was read

    def write(self, frame: bytes) -> None: ...
    def ping(self) -> int: ...
    def abort(self) -> None: ...


EXTENSION = "chatgateway.direct"


class Frame:
    """One text message, encoded once, for any number of sockets."""

    def __init__(self, payload: bytes, key: object = None, *, last: bool = False) -> None:
        self.payload = payload
        self.size = len(payload)
        self.key = key
        self.last = last

    @cached_property
    def wire(self) -> bytes:
        """The message as a WebSocket frame from a server: final, text, unmasked (RFC 6455, 5.2)."""
        size = len(self.payload)
        if size < 126:
            return b"\x81" + bytes((size,)) + self.payload
        if size < 65536:
            return b"\x81\x7e" + struct.pack("!H", size) + self.payload
        return b"\x81\x7f" + struct.pack("!Q", size) + self.payload


def _uncounted(size: int) -> None:
    """Count nothing: the connection is not registered yet."""


class Outbound:
    """One socket's outbound buffer; `too_slow` is called once, when `limit` bytes would wait."""

    __slots__ = (
        "_bytes",
        "_closed",
        "_direct",
        "_drained",
        "_limit",
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
    ) -> None:
        self._send = send
        self._direct = direct
        self._limit = limit
        self._too_slow = too_slow
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
            self._bytes -= len(older.payload)
        if self._bytes + len(frame.payload) > self._limit:
            self.lost()
            return
        self._waiting[key] = frame
        self._bytes += len(frame.payload)

    def _take(self) -> Frame:
        frame = self._waiting.pop(next(iter(self._waiting)))
        self._bytes -= len(frame.payload)
        return frame

    def _drain(self) -> None:
        direct = self._direct
        assert direct is not None
        while self._waiting and direct.can_write:
            frame = self._take()
            direct.write(frame.wire)
            self.on_sent(len(frame.payload))
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
                self.on_sent(len(frame.payload))
            self._tell_drained()
            self._wake.clear()
            if not self._closed:
                await self._wake.wait()
