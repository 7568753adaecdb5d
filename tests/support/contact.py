"""A client of the contact wire, built on a foreign WebSocket library. Every wait is bounded."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from tests.support.clients import PATIENCE, Frame, is_type
from tests.support.server import GatewayProcess


class ContactClient:
    """A visitor's socket. `established` is its first frame."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.established: Frame = {}

    @classmethod
    async def connect(
        cls, server: GatewayProcess | str, *, headers: dict[str, str] | None = None, **query: str | int
    ) -> Self:
        """Connect to a gateway or its ws:// address and read the first frame, which may be an error."""
        base = server if isinstance(server, str) else server.ws_url
        socket = await connect(
            f"{base}/contact?{urlencode(query)}" if query else f"{base}/contact",
            additional_headers=headers,
            compression=None,
            open_timeout=PATIENCE,
            ping_interval=None,
            proxy=None,
        )
        client = cls(socket)
        client.established = await client.recv()
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.socket.close()

    @property
    def credentials(self) -> dict[str, Any]:
        """What re-enters this visitor's session."""
        return {name: str(self.established[name]) for name in ("client_id", "resume_token")}

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame, or text or bytes as they are."""
        await self.socket.send(json.dumps(frame, ensure_ascii=False) if isinstance(frame, dict) else frame)

    async def recv(self, timeout: float = PATIENCE) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(timeout):
            frame = json.loads(await self.socket.recv())
        assert isinstance(frame, dict), f"not an object: {frame!r}"
        return frame

    async def until(self, predicate: Callable[[Frame], bool], timeout: float = PATIENCE) -> list[Frame]:
        """Return the frames up to and with the first that fits; fail, showing them, when none comes in time."""
        frames: list[Frame] = []
        try:
            while not frames or not predicate(frames[-1]):
                frames.append(await self.recv(timeout))
        except TimeoutError:
            raise AssertionError(f"no such frame within {timeout} s, only {frames}") from None
        return frames

    async def chat(self, text: str, **fields: Any) -> list[Frame]:
        """Ask, and return every frame up to and with the answer."""
        await self.send({"type": "chat_message", "message": text, "timestamp": "2026-05-01T12:00:00", **fields})
        return await self.until(is_type("chat_message"), 60)

    async def request(self, text: str, **fields: Any) -> Frame:
        """Call for the owner, and return the next frame."""
        await self.send({"type": "contact_request", "message": text, "timestamp": "", "userAgent": "test", **fields})
        return await self.recv()

    async def resume(self, last_seq: int, **changes: str) -> None:
        """Send a resume frame of this visitor, with `changes`."""
        await self.send({"type": "resume", **self.credentials, "last_seq": last_seq, **changes})

    async def recv_after_ping(self) -> list[Frame]:
        """Ping, and return the frames that came before the pong."""
        await self.send({"type": "ping"})
        return (await self.until(is_type("pong")))[:-1]

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Wait until the gateway closes the socket and return its close code."""
        async with asyncio.timeout(timeout):
            await self.socket.wait_closed()
        return self.socket.close_code or 0
