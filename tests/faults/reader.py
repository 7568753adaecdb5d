"""Peers that do not read: of a WebSocket, and of the answers to calls."""

import base64
import json
import os
import select
import socket
import struct
from collections.abc import Iterable
from typing import Any, Self

from tests.support.server import GatewayProcess

PATIENCE = 10.0
SMALL = 4096  # bytes that the kernel keeps for it: little, so that the server feels it soon
SEGMENT = 536  # makes the sender's buffer small too; on the loopback it is 3 MB otherwise

_TCP_REPAIR = 19  # Linux: a socket in this mode is closed silently


class Stalled:
    """A connection that is not read: what is sent to it soon waits with the server."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", gateway.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def vanish(self) -> None:
        """Go without a word to the other end, as when a machine loses power; PermissionError where one may not."""
        self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        self._socket.close()

    def is_dropped(self) -> bool:
        """Tell whether the server ended the connection, by a reset or an end behind what is unread."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))


class StalledCaller(Stalled):
    """Posts JSON `bodies` to `path`, all at once, and never reads a byte of what is answered."""

    def __init__(self, gateway: GatewayProcess, path: str, bodies: Iterable[Any]) -> None:
        super().__init__(gateway)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nContent-Type: application/json\r\n"
        for body in bodies:
            data = json.dumps(body)
            self._socket.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n{data}".encode())


class StalledReader(Stalled):
    """Completes the handshake on `path`, says what it is told to, and never reads a byte more."""

    def __init__(self, gateway: GatewayProcess, path: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(gateway)
        key = base64.b64encode(os.urandom(16)).decode()
        head = {
            "Host": f"127.0.0.1:{gateway.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self._socket.recv(1)  # no byte of a frame is to be read
            assert piece, f"refused: {answer!r}"
            answer += piece
        assert answer.startswith(b"HTTP/1.1 101"), answer

    def say(self, text: str) -> None:
        """Send a text frame."""
        data = text.encode()
        length = (
            bytes([0x80 | len(data)])
            if len(data) < 126
            else bytes([0x80 | 126]) + struct.pack("!H", len(data))
            if len(data) < 65_536
            else bytes([0x80 | 127]) + struct.pack("!Q", len(data))
        )
        self._socket.sendall(b"\x81" + length + bytes(4) + data)  # masked with zeros
