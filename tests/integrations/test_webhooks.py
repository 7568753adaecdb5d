"""Signed calls to a company's own systems, received by a real HTTP server."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import uuid4

import httpx2
import pytest

from conversations.outbox import Undeliverable
from conversations.responders.upstream import open_client
from integrations.webhooks import PATIENCE, Webhooks, signing_key

BODY = '{"text":"你好"}'.encode()


@dataclass
class Receiver:
    """Answers every call with `status` and keeps the last one."""

    status: int = 200
    port: int = 0
    length: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        self.body = await reader.readexactly(int(self.headers["content-length"]))
        writer.write(
            f"HTTP/1.1 {self.status} Status\r\nContent-Length: {self.length}\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        if self.length:
            await reader.read()  # until the caller hangs up
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with await asyncio.start_server(receiver.answer, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


@asynccontextmanager
async def webhooks(*, allow_private: bool = True, patience: float = PATIENCE) -> AsyncIterator[Webhooks]:
    client = open_client(allow_private=allow_private)
    try:
        yield Webhooks(client, patience=patience)
    finally:
        await client.aclose()


async def test_the_receiver_can_check_who_called_and_when(receiver: Receiver) -> None:
    owner = uuid4()
    async with webhooks() as hooks:
        await hooks.post(receiver.url, BODY, owner=owner, delivery="7")
    assert receiver.body == BODY
    signed = receiver.headers["x-gateway-timestamp"].encode() + b"." + BODY
    expected = hmac.new(signing_key(owner).encode(), signed, sha256).hexdigest()
    assert receiver.headers["x-gateway-signature"] == f"sha256={expected}"
    assert receiver.headers["x-gateway-delivery"] == "7"
    assert receiver.headers["content-type"] == "application/json"


def test_every_owner_has_a_key_of_his_own() -> None:
    assert signing_key(uuid4()) != signing_key(uuid4())


@pytest.mark.parametrize(("status", "kind"), [(500, ConnectionError), (429, ConnectionError), (404, Undeliverable)])
async def test_a_refusal_says_whether_trying_again_may_help(
    receiver: Receiver, status: int, kind: type[Exception]
) -> None:
    receiver.status = status
    async with webhooks() as hooks:
        with pytest.raises(kind, match=f"the receiver answered {status}"):
            await hooks.post(receiver.url, BODY, owner=uuid4(), delivery="7")


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status = 302
    async with webhooks() as hooks:
        with pytest.raises(Undeliverable):
            await hooks.post(receiver.url, BODY, owner=uuid4(), delivery="7")


async def test_a_private_address_is_called_only_where_that_is_allowed(receiver: Receiver) -> None:
    async with webhooks(allow_private=False) as hooks:
        with pytest.raises(Undeliverable, match="no public address, and ALLOW_PRIVATE_UPSTREAMS is off"):
            await hooks.post(receiver.url, BODY, owner=uuid4(), delivery="7")
    assert receiver.body == b""


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "nonsense", "http://"])
async def test_what_is_no_address_is_not_tried_again(url: str) -> None:
    async with webhooks() as hooks:
        with pytest.raises(Undeliverable):
            await hooks.post(url, BODY, owner=uuid4(), delivery="7")


async def test_a_receiver_that_is_away_may_come_back(receiver: Receiver) -> None:
    async with webhooks() as hooks:
        with pytest.raises(httpx2.ConnectError):
            await hooks.post("http://127.0.0.1:1/", BODY, owner=uuid4(), delivery="7")


@pytest.mark.parametrize("drips", [False, True])
async def test_a_receiver_that_does_not_come_to_an_end_is_left_in_time(drips: bool) -> None:
    left = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" if drips else b"")
        with suppress(ConnectionError):
            while drips:
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)  # a header now and then
            await reader.read()  # the body, and that he hangs up
        left.set()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server, webhooks(patience=0.2) as hooks:
        with pytest.raises(TimeoutError):
            await hooks.post(
                f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", BODY, owner=uuid4(), delivery="7"
            )
        async with asyncio.timeout(PATIENCE):
            await left.wait()


async def test_an_answer_without_end_is_not_read(receiver: Receiver) -> None:
    receiver.length = 10**12
    async with webhooks() as hooks:
        await hooks.post(receiver.url, BODY, owner=uuid4(), delivery="7")
