"""WebSocket and HTTP byte by byte, for a peer that keeps no rule unless it wants to."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Self

PATIENCE = 60.0  # seconds: who waits so long has found something that hangs
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of a socket that is closed by a reset


def frame(
    opcode: int, data: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """Return a client's frame of `data`, which may say another `length`."""
    size = len(data) if length is None else length
    head = bytes([fin << 7 | reserved << 4 | opcode])
    mask = masked << 7
    if size < 126:
        head += bytes([mask | size])
    elif size < 2**16:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    return head + (bytes(4) if masked else b"") + data  # a mask of zeros changes nothing


def handshake(path: str, **headers: str | None) -> bytes:
    """Return a request for an upgrade; a header that is None is left out."""
    wanted: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in wanted.items() if value is not None)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")


@dataclass
class Peer:
    """One connection. `closed` is the code that the server closed with, 0 where it broke off."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: int | None = None

    @classmethod
    async def connect(cls, port: int) -> Self:
        """Return a bare connection."""
        async with asyncio.timeout(PATIENCE):
            return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def upgrade(self, path: str) -> int:
        """Ask for a WebSocket and return the status of the answer."""
        self.write(handshake(path))
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1])

    def write(self, data: bytes) -> None:
        """Send bytes; a peer that was left sends them to nobody."""
        with contextlib.suppress(OSError):
            self.writer.write(data)

    async def until_closed(self) -> int:
        """Read on to the end, and return the code that the server closed with."""
        async with asyncio.timeout(PATIENCE):
            while self.closed is None:
                await self._read_frame()
        return self.closed

    async def hears(self, mark: bytes) -> bool:
        """Read on to a frame with `mark` in it; tell whether it came before the server closed the connection."""
        async with asyncio.timeout(PATIENCE):
            while self.closed is None:
                if mark in await self._read_frame():
                    return True
        return False

    async def rest(self) -> bytes:
        """Return all that still comes, where this is plain HTTP, at most 64 KiB."""
        found = b""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE):
                while len(found) < 65_536 and (piece := await self.reader.read(65_536)):
                    found += piece
        return found

    def leave(self, *, rudely: bool = False) -> None:
        """End the connection, `rudely` by a reset."""
        if rudely:
            with contextlib.suppress(OSError):
                end: socket.socket = self.writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    async def _read_frame(self) -> bytes:
        """Return the payload of the next frame, empty where it was the last one."""
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            data = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            self.closed = 0
            return b""
        if first & 0xF == CLOSE:
            self.closed = struct.unpack("!H", data[:2])[0] if size >= 2 else 1005
            return b""
        return data
