"""Who follows a session over connections that break, and who talks in it meanwhile."""

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from typing import Any

from tests.faults.proxy import FaultyProxy
from tests.faults.visitors import ENDS, PATIENCE
from tests.support.clients import Frame, PipelineClient, SocketClient, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.rest import history
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient

PACE = 0.02  # seconds between two messages of one talker: what a break costs has to be less than a resume replays
LONG = "长" * 7_000  # 21 kB, so that breaks come in the middle of frames


class Follower(ABC):
    """Comes back by a resume whenever its connection breaks. `seqs` are those it was told, in the order of telling."""

    def __init__(self, gateway: GatewayProcess, proxy: FaultyProxy) -> None:
        self.gateway = gateway
        self.proxy = proxy
        self.session = ""  # its UUID, or the name of a room
        self.seqs: list[int] = []
        self.answers: dict[int, str] = {}
        self.resumes = 0
        self.reloads = 0  # of these, those in which too much was missed

    @property
    def last_seq(self) -> int:
        """How far it has followed."""
        return self.seqs[-1] if self.seqs else 0

    @abstractmethod
    async def talk(self) -> None:
        """Talk in the session for ever, over a connection that does not break."""

    @abstractmethod
    async def connect(self) -> SocketClient:
        """Connect through the proxy."""

    @abstractmethod
    async def resume(self, client: Any) -> Frame:
        """Ask for what was missed, and return what is said to it."""

    @abstractmethod
    def told(self, frame: Frame) -> tuple[int, str] | None:
        """Return the `seq` of a stored message in a frame, and its text where it is an answer."""

    async def follow(self) -> None:
        """Follow the session for ever."""
        while True:
            with contextlib.suppress(*ENDS):
                async with await self.connect() as client:
                    promised = await self.resume(client)
                    self.resumes += 1
                    if not promised["resumed"]:
                        await self.reload(promised["last_seq"])
                    while True:
                        self.hear(await client.recv(PATIENCE))

    def hear(self, frame: Frame) -> None:
        """Note what a frame tells."""
        if (message := self.told(frame)) is not None:
            seq, answer = message
            self.seqs.append(seq)
            if answer:
                self.answers[seq] = answer

    async def reload(self, last_seq: int) -> None:
        """Read what was missed where it is too much to be replayed."""
        raise AssertionError(f"more than a replay was missed: {self.last_seq} to {last_seq}")


class PipelineFollower(Follower):
    """On the pipeline wire; resumes by the query and by a frame, in turn."""

    session_type = "person"
    credentials: dict[str, Any]

    async def talk(self) -> None:
        async with await PipelineClient.connect(self.gateway) as client:
            self.session = client.session_id
            self.credentials = {"session_id": client.session_id, "resume_token": client.resume_token}
            for number in itertools.count():
                await client.ask(f"question {number}")

    async def connect(self) -> SocketClient:
        by_query: dict[str, Any] = {"last_seq": self.last_seq} if self.resumes % 2 else {}
        return await PipelineClient.connect(self.proxy.ws_url, self.session_type, **self.credentials, **by_query)

    async def resume(self, client: PipelineClient) -> Frame:
        if not self.resumes % 2:
            await client.send({"type": "resume", "last_seq": self.last_seq})
        # What is told before it comes after `last_seq` too, so it is replayed.
        return (await client.until(is_type("resumed"), PATIENCE))[-1]

    def told(self, frame: Frame) -> tuple[int, str] | None:
        if frame["type"] == "user_message":
            return frame["data"]["seq"], ""
        return (frame["data"]["seq"], frame["data"]["content"]) if is_final(frame) else None


class RoomFollower(PipelineFollower):
    """In a room in which several talk at once, and much."""

    session_type = "group"

    def __init__(self, gateway: GatewayProcess, proxy: FaultyProxy) -> None:
        super().__init__(gateway, proxy)
        self.session = "talk"
        self.credentials = {"session_id": self.session}

    async def talk(self) -> None:
        async with await PipelineClient.connect(self.gateway, "group", session_id=self.session) as client:
            mine = client.connected["connection_id"]
            for number in itertools.count():
                await client.say(LONG if number % 10 == 0 else f"word {number}")
                await client.until(lambda frame: frame["data"]["connection_id"] == mine, PATIENCE)
                await asyncio.sleep(PACE)  # how fast people talk

    async def reload(self, last_seq: int) -> None:
        self.reloads += 1
        query = f"?session_id={self.session}&after_seq={self.last_seq}&limit=500"
        missed = await asyncio.to_thread(history, self.gateway, "group", query)
        self.seqs += [message["seq"] for message in missed if message["seq"] <= last_seq]


class ContactFollower(Follower):
    """On the contact wire, with answers that also come in increments."""

    credentials: dict[str, Any]

    async def talk(self) -> None:
        async with await ContactClient.connect(self.gateway) as client:
            self.session = client.credentials["client_id"]
            self.credentials = client.credentials
            for number in itertools.count():
                await client.chat(f"question {number}")

    async def connect(self) -> SocketClient:
        by_query = {**self.credentials, "last_seq": self.last_seq} if self.resumes % 2 else {}
        return await ContactClient.connect(self.proxy.ws_url, stream=1, **by_query)

    async def resume(self, client: ContactClient) -> Frame:
        if not self.resumes % 2:
            await client.send({"type": "resume", **self.credentials, "last_seq": self.last_seq})
        return (await client.until(is_type("resumed"), PATIENCE))[-1]

    def told(self, frame: Frame) -> tuple[int, str] | None:
        if frame["type"] != "chat_message":
            return None
        return frame["seq"], frame["message"] if frame["sender"] == "assistant" else ""


class WeChatFollower(Follower):
    """On the WeChat wire, which replays answers only."""

    token = ""

    async def talk(self) -> None:
        async with await WeChatClient.open(self.gateway, login="follower") as client:
            self.session, self.token = client.session_id, client.resume_token
            for number in itertools.count():
                await client.chat(f"question {number}")

    async def connect(self) -> SocketClient:
        return await WeChatClient.open(self.proxy.ws_url)

    async def resume(self, client: WeChatClient) -> Frame:
        answer: Frame = (await client.resume(self.token, self.last_seq))["data"]
        return answer

    def told(self, frame: Frame) -> tuple[int, str] | None:
        return (frame["data"]["seq"], frame["data"]["msg"]) if frame["type"] == "chat_response" else None
