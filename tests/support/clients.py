"""Clients of the wires, built on a foreign WebSocket library. Every wait is bounded."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConcurrencyError, ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.server import GatewayProcess

Frame = dict[str, Any]
DEFAULT_PIPELINE = "00000000-0000-4000-8000-000000000001"
PATIENCE = 15.0


class SocketClient:
    """A socket of a wire that speaks JSON objects; every method waits for what it is named after."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame, or text or bytes as they are."""
        await self.socket.send(json.dumps(frame, ensure_ascii=False) if isinstance(frame, dict) else frame)

    async def recv_text(self, timeout: float = PATIENCE) -> str:
        """Return the next frame's text."""
        async with asyncio.timeout(timeout):
            text = await self.socket.recv()
        assert isinstance(text, str)
        return text

    async def recv(self, timeout: float = PATIENCE) -> Frame:
        """Return the next frame."""
        frame = json.loads(await self.recv_text(timeout))
        assert isinstance(frame, dict), f"not an object: {frame!r}"
        return frame

    async def until(self, predicate: Callable[[Frame], bool], timeout: float = PATIENCE) -> list[Frame]:
        """Return the frames up to and with the first that fits; fail, showing them, when none comes in time."""
        frames: list[Frame] = []
        try:
            async with asyncio.timeout(timeout):
                while not frames or not predicate(frames[-1]):
                    frames.append(await self.recv(timeout))
        except TimeoutError:
            raise AssertionError(f"no such frame within {timeout} s, only {frames}") from None
        return frames

    async def ping(self) -> Frame:
        """Ping, where the wire has pings, and return the pong."""
        await self.send({"type": "ping"})
        return (await self.until(is_type("pong")))[-1]

    async def recv_after_ping(self) -> list[Frame]:
        """Ping, and return the frames that came before the pong: what the gateway had still to say."""
        await self.send({"type": "ping"})
        return (await self.until(is_type("pong")))[:-1]

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Wait until the gateway closes the socket and return its close code."""
        async with asyncio.timeout(timeout):
            await self.socket.wait_closed()
        return self.socket.close_code or 0

    async def close(self) -> None:
        """Close the socket, reading on meanwhile: the peer's close comes after all that nobody has read."""
        closing = asyncio.ensure_future(self.socket.close())
        with contextlib.suppress(ConnectionClosed, ConcurrencyError):  # somebody else may read on
            while True:
                await self.socket.recv()
        await closing


async def dial(
    server: GatewayProcess | str,
    path: str,
    query: Mapping[str, str | int] | None = None,
    *,
    headers: dict[str, str] | None = None,
    subprotocol: str = "",
) -> ClientConnection:
    """Open a socket of a gateway, or of its ws:// address."""
    base = server if isinstance(server, str) else server.ws_url
    return await connect(
        f"{base}{path}?{urlencode(query)}" if query else f"{base}{path}",
        additional_headers=headers,
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        compression=None,
        open_timeout=PATIENCE,
        ping_interval=None,
        proxy=None,
    )


class PipelineClient(SocketClient):
    """A socket of the pipeline wire. `connected` is its first frame."""

    connected: Frame

    @classmethod
    async def connect(
        cls,
        server: GatewayProcess | str,
        session_type: str = "person",
        *,
        pipeline: str = DEFAULT_PIPELINE,
        first: Frame | None = None,
        headers: dict[str, str] | None = None,
        subprotocol: str = "",
        **query: str | int,
    ) -> Self:
        """Connect to a gateway or its ws:// address, send `first` if given, and read the first frame.

        The first frame may be an error: a test looks at `connected["type"]`.
        """
        path = f"/api/v1/pipelines/{pipeline}/ws/connect"
        arguments = {"session_type": session_type, **query}
        client = cls(await dial(server, path, arguments, headers=headers, subprotocol=subprotocol))
        if first is not None:
            await client.send(first)
        client.connected = await client.recv()
        return client

    @property
    def session_id(self) -> str:
        """The session that the gateway put this socket into."""
        return str(self.connected["session_id"])

    @property
    def resume_token(self) -> str:
        """What re-enters that session from another socket."""
        return str(self.connected["resume_token"])

    async def say(self, text: str, **fields: Any) -> None:
        """Send a message of plain text; `fields` are put beside it, as `client_msg_id`."""
        await self.send({"type": "message", "message": [{"type": "Plain", "text": text}], **fields})

    async def ask(self, text: str, timeout: float = 60.0, **fields: Any) -> list[Frame]:
        """Ask, and return every frame up to and with the final response."""
        await self.say(text, **fields)
        return await self.until(is_final, timeout)


def is_type(name: str) -> Callable[[Frame], bool]:
    """Return a predicate for frames of one type."""
    return lambda frame: frame.get("type") == name


def is_final(frame: Frame) -> bool:
    """Tell whether `frame` ends an answer."""
    return frame.get("type") == "response" and bool(frame["data"]["is_final"])


def answer(frames: list[Frame]) -> str:
    """Return the text of the answer that `frames` ends with."""
    return str(frames[-1]["data"]["content"])
