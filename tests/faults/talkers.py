"""Clients that go on whatever happens to the gateway, and keep account of all that they hear."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.clients import Frame, PipelineClient, is_final, is_type
from tests.support.server import GatewayProcess
from tests.support.yishiting import caller, question

PATIENCE = 120.0  # seconds for a frame, on a machine that does much else
LOST = 1006


@dataclass(frozen=True)
class Failure:
    """A connection that was not made: when it was begun and when it failed, on the monotonic clock, and how."""

    began: float
    failed: float
    how: str


class Talker:
    """Asks one thing after another in a session of his own, and comes back to it whenever his socket ends.

    What is not acknowledged he says again under the same id. He fails where a message comes out of order, twice without
    his having repeated it, or not at all.
    """

    def __init__(self, gateway: GatewayProcess) -> None:
        self.closes: Counter[int] = Counter()  # of his sockets, by code
        self.failures: list[Failure] = []  # of connections
        self.answers: dict[str, str] = {}
        self.longest = 0.0  # seconds that he waited for an answer
        self._gateway = gateway
        self._session: dict[str, Any] = {}
        self._seq = 0
        self._question = ""  # the one that is not answered yet
        self._acknowledged = False
        self._questions: dict[int, str] = {}  # the one that a message belongs to, by its seq
        self._repeated: set[str] = set()

    async def talk(self, over: asyncio.Event) -> None:
        """Talk until it is `over`, and the last question is answered."""
        while not over.is_set() or self._question:
            client = await self._connect()
            if client is None:
                continue
            async with client:
                try:
                    while not over.is_set() or self._question:
                        await self._ask(client)
                except ConnectionClosed:
                    self.closes[client.socket.close_code or LOST] += 1

    async def _connect(self) -> PipelineClient | None:
        began = time.monotonic()
        try:
            query = {**self._session, "last_seq": self._seq} if self._session else {}
            client = await PipelineClient.connect(self._gateway, **query)
            self._session = {"session_id": client.session_id, "resume_token": client.resume_token}
            if query:
                resumed = await client.recv(PATIENCE)
                assert (resumed["type"], resumed["resumed"]) == ("resumed", True)
                while self._seq < resumed["last_seq"]:
                    self._hear(await client.recv(PATIENCE))
            return client
        except (WebSocketException, OSError, TimeoutError) as error:
            self.failures.append(Failure(began, time.monotonic(), repr(error)))
            return None

    async def _ask(self, client: PipelineClient) -> None:
        """Ask, or ask on after a loss, and listen until the answer ends."""
        if not self._question:
            self._question, self._acknowledged, self._since = uuid4().hex, False, time.monotonic()
        elif not self._acknowledged:
            self._repeated.add(self._question)
        if not self._acknowledged:
            await client.say(self._question, client_msg_id=self._question)
        while self._question:
            frame = await client.recv(PATIENCE)
            self._hear(frame)
            if frame["type"] == "error":
                await self._heed(client, frame)

    async def _heed(self, client: PipelineClient, error: Frame) -> None:
        """Do as an error says: the gateway is restarting, or it does not know whether it has the question."""
        if "restarting" in error["message"]:
            await client.closed()
            return
        assert "again" in error["message"], error
        await asyncio.sleep(error.get("retry_after", 0))
        self._repeated.add(self._question)
        await client.say(self._question, client_msg_id=self._question)

    def _hear(self, frame: Frame) -> None:
        data = frame.get("data", {})
        if "seq" not in data:
            return
        asked = self._question
        if data["seq"] <= self._seq:
            assert self._questions[data["seq"]] in self._repeated, f"told twice: {frame}"
            return
        assert data["seq"] == self._seq + 1, f"a gap before {frame}, after {self._seq}"
        self._seq = data["seq"]
        self._questions[self._seq] = asked
        if is_type("user_message")(frame):
            assert data["content"] == asked
            self._acknowledged = True
        elif is_final(frame) and asked:
            self.answers[asked] = data["content"]
            self.longest = max(self.longest, time.monotonic() - self._since)
            self._question = ""

    def check(self) -> None:
        """Fail where not each question has had its two messages."""
        assert self.answers
        assert self._seq == 2 * len(self.answers)


class Caller:
    """Calls again and again over a connection that stays open, as long as the gateway lets it.

    Who is slow to send his request may hear that the gateway is restarting; he repeats it on another connection.
    """

    def __init__(self, gateway: GatewayProcess) -> None:
        self.calls = self.repeats = 0
        self._gateway = gateway

    async def talk(self, over: asyncio.Event) -> None:
        """Call until it is `over`; fail where a call does."""
        async with caller(self._gateway) as client:
            while not over.is_set():
                asked = question()
                while (response := await client.post("/chat/sync", json=asked, timeout=PATIENCE)).status_code != 200:
                    assert (response.status_code, response.headers["connection"]) == (503, "close"), response.text
                    self.repeats += 1
                assert (await client.get("/healthz", timeout=PATIENCE)).status_code == 200
                self.calls += 2


class Knocker:
    """Opens a socket so many times a second, and notes how long each took, and which failed."""

    def __init__(self, gateway: GatewayProcess, *, a_second: float) -> None:
        self.knocks: list[float] = []  # how long each took
        self.failures: list[Failure] = []
        self._gateway = gateway
        self._apart = 1 / a_second

    async def knock(self, over: asyncio.Event) -> None:
        """Knock until it is `over`, and every knock answered."""
        async with asyncio.TaskGroup() as knocking:
            while not over.is_set():
                knocking.create_task(self._knock_once())
                await asyncio.sleep(self._apart)  # the pace of the load

    async def _knock_once(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE), await PipelineClient.connect(self._gateway):
                pass
        except (WebSocketException, OSError, TimeoutError) as error:
            self.failures.append(Failure(began, time.monotonic(), repr(error)))
        self.knocks.append(time.monotonic() - began)
