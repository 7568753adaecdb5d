"""A question on each wire, whose asker counts how often it ends: over one connection, or over a second one."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx2

from conversations import phrases
from conversations.types import own_session
from integrations.postoffice.translate import WIRE as POSTOFFICE
from integrations.yishiting.translate import WIRE as YISHITING
from tests.faults.model import FakeModel
from tests.faults.visitors import PATIENCE
from tests.support.clients import DEFAULT_PIPELINE, Frame, PipelineClient, SocketClient, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller, events, text_of

BOT = "AI_CHATBOT"


class Asked(ABC):
    """A question of a session of its own."""

    wire: ClassVar[str]
    client: SocketClient | None = None

    def __init__(self, gateway: GatewayProcess, model: FakeModel) -> None:
        self.gateway = gateway
        self.model = model
        self.name = uuid4().hex
        self.text = f"What is {self.name}?"

    @abstractmethod
    async def ask(self) -> None:
        """Ask; return once the answer has begun."""

    @abstractmethod
    async def come_back(self) -> None:
        """Come back after the connection broke, in the wire's own way."""

    @abstractmethod
    async def ends(self) -> int:
        """Wait for the end, and return how many there were."""

    @property
    @abstractmethod
    def session(self) -> UUID:
        """The session, as staff knows it."""

    async def leave(self) -> None:
        """Hang up."""
        if self.client is not None:
            await self.client.close()

    async def begun(self) -> None:
        """Wait until the model is asked."""

        async def is_asked() -> bool:
            return any(self.text in call.body["messages"][-1]["content"] for call in self.model.calls)

        await eventually(is_asked, timeout=PATIENCE, what=f"the model's call for {self.wire}")


class OnPipeline(Asked):
    wire = "pipeline"
    client: PipelineClient

    async def ask(self) -> None:
        self.client = await PipelineClient.connect(self.gateway)
        self.credentials: dict[str, Any] = {
            "session_id": self.client.session_id,
            "resume_token": self.client.resume_token,
        }
        await self.client.say(self.text)
        self.answer = (await self.client.until(is_type("response"), PATIENCE))[-1]["data"]["id"]

    async def come_back(self) -> None:
        self.client = await PipelineClient.connect(self.gateway, **self.credentials, last_seq=0)

    async def ends(self) -> int:
        return await _count(self.client, lambda frame: is_final(frame) and frame["data"]["id"] == self.answer)

    @property
    def session(self) -> UUID:
        return UUID(self.credentials["session_id"])


class OnContact(Asked):
    wire = "contact"
    client: ContactClient

    async def ask(self) -> None:
        self.client = await ContactClient.connect(self.gateway, stream=1)
        self.credentials = self.client.credentials
        await self.client.send({"type": "chat_message", "message": self.text})
        self.message = (await self.client.until(is_type("chat_message_received"), PATIENCE))[-1]["message_id"]
        await self.client.until(is_type("chat_delta"), PATIENCE)

    async def come_back(self) -> None:
        self.client = await ContactClient.connect(self.gateway, **self.credentials, last_seq=0)

    async def ends(self) -> int:
        return await _count(
            self.client, lambda frame: frame.get("sender") == "assistant" and frame["message_id"] == self.message
        )

    @property
    def session(self) -> UUID:
        return UUID(self.credentials["client_id"])


class OnWeChat(Asked):
    wire = "wechat"
    client: WeChatClient

    async def ask(self) -> None:
        self.client = await WeChatClient.open(self.gateway, login=self.name)
        self.account = self.client.account
        await self.client.send({"type": "chat", "query": self.text, "id": "q", "stream": True})
        await self.client.until(is_type("chat_delta"), PATIENCE)

    async def come_back(self) -> None:
        self.client = await WeChatClient.open(self.gateway)
        assert (await self.client.resume(self.account["resume_token"]))["code"] == 0

    async def ends(self) -> int:
        return await _count(
            self.client,
            lambda frame: frame["type"] == "chat_response" and frame["data"].get("request_id") == "q",
        )

    @property
    def session(self) -> UUID:
        return UUID(self.account["session_id"])


class OnStream(Asked):
    """A call whose answer is streamed; who comes back calls again by the same id."""

    wire = "yishiting"
    path = "/chat"

    async def ask(self) -> None:
        await self.come_back()
        await self.begun()

    async def come_back(self) -> None:
        self.calling = asyncio.create_task(self._call())

    async def ends(self) -> int:
        response = await self.calling
        text_of(events(response.content))  # which fails unless its last event, and no other, is finished
        return 1

    @property
    def session(self) -> UUID:
        return own_session(UUID(DEFAULT_PIPELINE), YISHITING, "open", self.name).uuid

    async def _call(self) -> httpx2.Response:
        async with caller(self.gateway) as client:
            body = {"user": self.name, "msg_type": "text", "content": self.text, "msg_id": "q"}
            return await client.post(self.path, json=body, timeout=PATIENCE)


class ForLater(OnStream):
    """A call whose answer is fetched later."""

    path = "/chat/async"

    async def ask(self) -> None:
        await super().ask()
        self.trace = (await self.calling).json()["third_party_trace_id"]

    async def come_back(self) -> None:
        if not hasattr(self, "trace"):
            await super().come_back()

    async def ends(self) -> int:
        async with caller(self.gateway) as client:

            async def has_ended() -> bool:
                return not (await client.get(f"/chat/async/{self.trace}")).json().get("is_async_response")

            await eventually(has_ended, timeout=PATIENCE, what="the answer to a call for later")
        return 1


class OnHub(Asked):
    wire = "postoffice"
    client: HubClient

    async def ask(self) -> None:
        await self.come_back()
        await self.client.write(BOT, self.text)
        await self.begun()

    async def come_back(self) -> None:
        self.client = await HubClient.connect(self.gateway, self.name)

    async def ends(self) -> int:
        letters = await self.client.until(_is_answer, PATIENCE)
        letters += await self.client.until_silent()
        return sum(map(_is_answer, letters))

    @property
    def session(self) -> UUID:
        return own_session(UUID(DEFAULT_PIPELINE), POSTOFFICE, self.name, BOT).uuid


WIRES: tuple[type[Asked], ...] = (OnPipeline, OnContact, OnWeChat, OnStream, ForLater, OnHub)


async def _count(client: SocketClient, is_end: Any) -> int:
    frames = await client.until(is_end, PATIENCE)
    return sum(map(is_end, [*frames, *await client.recv_after_ping()]))


def _is_answer(letter: Frame) -> bool:
    """Tell whether a letter is an answer, and not the notice that a person has joined."""
    notices = {phrase.format(name="owner") for phrase in phrases.JOINED.values()}
    return letter["from"] == BOT and letter["content"] not in notices
