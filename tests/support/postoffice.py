"""A client of the hub, built on a foreign WebSocket library. Every wait is bounded."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.server import GatewayProcess

Letter = dict[str, Any]
PATIENCE = 15.0


class HubClient:
    """A named client; `async for`-free: every method waits for what it is named after."""

    def __init__(self, client_id: str, socket: ClientConnection) -> None:
        self.id = client_id
        self.socket = socket

    @classmethod
    async def connect(
        cls,
        server: GatewayProcess | str,
        client_id: str = "",
        *,
        path: str = "/",
        headers: dict[str, str] | None = None,
        **query: str | int,
    ) -> Self:
        """Connect to a gateway or its ws:// address; InvalidStatus where it refuses."""
        base = server if isinstance(server, str) else server.ws_url
        arguments = urlencode({**({"clientID": client_id} if client_id else {}), **query})
        socket = await connect(
            f"{base}{path}?{arguments}",
            additional_headers=headers,
            compression=None,
            open_timeout=PATIENCE,
            ping_interval=None,
            proxy=None,
        )
        return cls(client_id, socket)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def send(self, letter: Letter | str | bytes) -> None:
        """Send a letter as it is."""
        await self.socket.send(json.dumps(letter, ensure_ascii=False) if isinstance(letter, dict) else letter)

    async def write(self, to: str | list[str], content: Any, **fields: Any) -> None:
        """Send an ordinary letter; `fields` are put beside the required ones."""
        now = int(time.time())
        letter = {"from": self.id, "to": to, "subject": "s", "content": content, "type": "msg", "createTime": now}
        await self.send({**letter, **fields})

    async def recv_text(self, timeout: float = PATIENCE) -> str:
        """Return the next frame's text."""
        async with asyncio.timeout(timeout):
            text = await self.socket.recv()
        assert isinstance(text, str)
        return text

    async def recv(self, timeout: float = PATIENCE) -> Letter:
        """Return the next letter."""
        letter = json.loads(await self.recv_text(timeout))
        assert isinstance(letter, dict), f"not an object: {letter!r}"
        return letter

    async def until(self, predicate: Callable[[Letter], bool], timeout: float = PATIENCE) -> list[Letter]:
        """Return the letters up to and with the first that fits."""
        letters: list[Letter] = []
        async with asyncio.timeout(timeout):
            while not letters or not predicate(letters[-1]):
                letters.append(await self.recv(timeout))
        return letters

    async def until_silent(self) -> list[Letter]:
        """Write to itself, and return what came before that letter: what the gateway had still to say."""
        mark = f"mark {time.monotonic_ns()}"
        await self.write(self.id, mark)
        return (await self.until(lambda letter: letter.get("content") == mark))[:-1]

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Wait until the gateway closes the socket and return its close code."""
        async with asyncio.timeout(timeout):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code or 0

    async def close(self) -> None:
        """Close the socket."""
        await self.socket.close()

    def drop(self) -> None:
        """Break the connection without a word."""
        self.socket.transport.abort()


async def refusal(server: GatewayProcess | str, client_id: str = "", **more: Any) -> tuple[int, str, str]:
    """Try to connect and return the refusal's status, content type and body."""
    try:
        client = await HubClient.connect(server, client_id, **more)
    except InvalidStatus as error:
        response = error.response
        return response.status_code, response.headers.get("Content-Type", ""), (response.body or b"").decode()
    await client.close()
    raise AssertionError("it was not refused")
