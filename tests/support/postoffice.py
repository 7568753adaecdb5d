"""A client of the hub."""

import asyncio
import time
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.clients import PATIENCE, Frame, SocketClient, dial
from tests.support.server import GatewayProcess


class HubClient(SocketClient):
    """A named client; its frames are letters."""

    def __init__(self, client_id: str, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.id = client_id

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
        named = {"clientID": client_id} if client_id else {}
        return cls(client_id, await dial(server, path, {**named, **query}, headers=headers))

    async def write(self, to: str | list[str], content: Any, **fields: Any) -> None:
        """Send an ordinary letter; `fields` are put beside the required ones."""
        now = int(time.time())
        letter = {"from": self.id, "to": to, "subject": "s", "content": content, "type": "msg", "createTime": now}
        await self.send({**letter, **fields})

    async def until_silent(self) -> list[Frame]:
        """Write to itself, and return what came before that letter: what the gateway had still to say."""
        mark = f"mark {time.monotonic_ns()}"
        await self.write(self.id, mark)
        return (await self.until(lambda letter: letter.get("content") == mark))[:-1]

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Read on until the gateway closes the socket, whatever letters come before, and return its close code."""
        async with asyncio.timeout(timeout):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code or 0

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
