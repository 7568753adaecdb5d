"""易事厅's calls over plain HTTP, its event stream taken apart byte for byte."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from uuid import uuid4

import httpx2

from tests.support.server import GatewayProcess

HEAD, TAIL = b"event:delta\ndata:", b"\n\n"


def question(content: Any = "What can you do?", **more: Any) -> dict[str, Any]:
    """Return a body that /chat takes, of a user and with an id of its own."""
    mine = uuid4().hex
    return {"user": f"user-{mine}", "msg_type": "text", "content": content, "msg_id": mine, **more}


@asynccontextmanager
async def caller(gateway: GatewayProcess, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of a gateway."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30, headers=headers) as client:
        yield client


def events(data: bytes) -> list[dict[str, Any]]:
    """Return the events in a stream; fail where a byte is not as the wire wants it."""
    assert data.endswith(TAIL), data
    found = []
    for event in data[: -len(TAIL)].split(TAIL):
        assert event.startswith(HEAD), event
        line = event[len(HEAD) :].decode()
        assert len(line.splitlines()) == 1, line
        found.append(json.loads(line))
        assert line == json.dumps(found[-1], ensure_ascii=False, separators=(",", ":")) or "\\u" in line
    return found


def text_of(found: list[dict[str, Any]]) -> str:
    """Return the answer that a whole stream tells, which ends exactly once."""
    assert [event["finished"] for event in found] == [False] * (len(found) - 1) + [True]
    return "".join(event["response"] for event in found)


class Listening(Protocol):
    """A gateway, or what stands before it."""

    port: int


@dataclass
class Stream:
    """A stream as it comes; `async with` it, and leave the block to hang up."""

    gateway: Listening
    body: Mapping[str, Any]
    path: str = "/chat"
    seen: bytes = field(default=b"")

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        data = json.dumps(self.body).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await self._writer.drain()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def until(self, words: bytes) -> None:
        """Read on until `words` have come."""
        async with asyncio.timeout(15):
            while words not in self.seen:
                more = await self._reader.read(4096)
                assert more, f"the stream ended without {words!r}: {self.seen!r}"
                self.seen += more


def raw(gateway: GatewayProcess, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """Return status and JSON of a call whose body and headers are as given."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()
