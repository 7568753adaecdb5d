"""What goes out to slow receivers: it holds up nobody else, and goes out once, whichever worker sends it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import psycopg
import pytest

from conversations.jobs.outbox import SHARE
from tests.conftest import GatewayFactory
from tests.support.contact import ContactClient
from tests.support.databases import PostgresServer
from tests.support.listening import close_listener
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

PROMPT = 5.0  # seconds; half of what a receiver may take
PATIENCE = 20.0


class Receiver:
    """A company's own system: each call it was told of waits in `calls` with its text, until it is answered."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, asyncio.StreamWriter]] = asyncio.Queue()
        self.url = ""
        self._callers: list[asyncio.StreamWriter] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        self.calls.put_nowait((body["message"], writer))

    async def next(self) -> tuple[str, asyncio.StreamWriter]:
        """Return the next call's text, and what it is answered with."""
        async with asyncio.timeout(PATIENCE):
            return await self.calls.get()

    async def close(self) -> None:
        """Hang up on everybody."""
        for caller in self._callers:
            caller.close()
            with suppress(ConnectionError):
                await caller.wait_closed()


def answer(call: asyncio.StreamWriter) -> None:
    """Tell a caller that it has arrived."""
    call.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    call.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with await asyncio.start_server(receiver.take, "127.0.0.1", 0) as server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield receiver
        await close_listener(server)
        await receiver.close()


def start(start_gateway: GatewayFactory, receiver: Receiver, workers: int) -> GatewayProcess:
    """Start a gateway whose pipelines tell the receiver of contact requests."""
    # What hangs at the end is not waited for.
    environment = {"RATE_LIMITS": "off", "DRAIN_TIMEOUT": "1"}
    gateway = start_gateway(database="postgres", workers=workers, environment=environment, start=False)
    with psycopg.connect(gateway.database_url, autocommit=True) as connection:
        connection.execute("UPDATE conversations_pipeline SET webhook_url = %s", (receiver.url,))
    gateway.start()
    return gateway


async def request(gateway: GatewayProcess, *texts: str) -> None:
    """Ask for the owner, as one new visitor."""
    async with await ContactClient.connect(gateway) as visitor:
        for text in texts:
            assert (await visitor.request(text))["type"] == "contact_request_received"


async def test_the_bot_answers_on_the_hub_while_receivers_hang(
    start_gateway: GatewayFactory, receiver: Receiver
) -> None:
    gateway = start(start_gateway, receiver, workers=1)
    for number in range(SHARE + 5):
        await request(gateway, f"request {number}")
    for _ in range(SHARE):
        await receiver.next()
    async with await HubClient.connect(gateway, "user") as client:
        await client.write("AI_CHATBOT", "您好", id="q1")
        letter = await client.recv(PROMPT)
    assert (letter["from"], letter["inReplyTo"]) == ("AI_CHATBOT", "q1")
    assert receiver.calls.empty(), "no more than that at once"


async def test_a_visitors_requests_go_out_once_and_in_order_from_two_workers(
    start_gateway: GatewayFactory, receiver: Receiver, postgres: PostgresServer
) -> None:
    gateway = start(start_gateway, receiver, workers=2)
    await request(gateway, *(f"request {number}" for number in range(5)))
    for number in range(5):
        text, held = await receiver.next()
        assert text == f"request {number}"
        # While the receiver takes its time, others' go out, and none of the same visitor.
        for other in range(2):
            await request(gateway, f"other {number}.{other}")
            text, call = await receiver.next()
            assert text == f"other {number}.{other}"
            answer(call)
        answer(held)

    async def settled() -> bool:
        rows = postgres.query(
            gateway.database_url,
            "SELECT count(*) FROM conversations_outboxentry WHERE kind = 'webhook' AND state = 'sent' AND attempts = 1",
        )
        return rows == [(15,)]

    await eventually(settled, timeout=PATIENCE, what="15 entries that arrived with the first attempt")
    assert receiver.calls.empty()
