"""Visitors on every wire who keep talking, over every crash, and remember what was acknowledged."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import uuid4

import httpx2
from websockets.exceptions import WebSocketException

from tests.support.clients import Frame, PipelineClient, SocketClient, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller

PATIENCE = 60.0  # seconds for an acknowledgement or an answer, on a busy machine
ENDS = (WebSocketException, OSError, TimeoutError, httpx2.HTTPError)


class NotTaken(Exception):  # noqa: N818  an answer, not a fault
    """What was said was refused, and so not acknowledged."""


class Visitor(ABC):
    """Somebody who says one thing after another; each text is another one."""

    wire: ClassVar[str]

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.acknowledged: list[str] = []

    async def talk(self, gateway: GatewayProcess) -> None:
        """Talk until the gateway dies, or takes nothing more."""
        with contextlib.suppress(NotTaken, *ENDS):
            await self.say_on(gateway)

    @abstractmethod
    async def say_on(self, gateway: GatewayProcess) -> None:
        """Connect, and talk for ever."""


class PipelineVisitor(Visitor):
    """On the pipeline wire, in a session of his own."""

    wire = "pipeline"

    def __init__(self) -> None:
        super().__init__()
        self.session: dict[str, Any] = {}

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with await PipelineClient.connect(gateway, **self.session) as client:
            self.session = {"session_id": client.session_id, "resume_token": client.resume_token}
            while True:
                text = uuid4().hex
                await client.say(text, client_msg_id=text)
                await heard(client, lambda frame, text=text: is_echo(frame, text))  # type: ignore[misc]  # bound now
                self.acknowledged.append(text)
                if len(self.acknowledged) % 2:  # every other question is asked before the last one is answered
                    await client.until(is_final, PATIENCE)


class RoomVisitor(Visitor):
    """On the pipeline wire, in a room in which nobody is asked."""

    wire = "room"

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with await PipelineClient.connect(gateway, "group", session_id="talk") as client:
            while True:
                text = uuid4().hex
                await client.say(text, client_msg_id=text)
                await heard(client, lambda frame, text=text: is_echo(frame, text))  # type: ignore[misc]  # bound now
                self.acknowledged.append(text)


class ContactVisitor(Visitor):
    """On the contact wire; now and then he calls for the owner."""

    wire = "contact"

    def __init__(self) -> None:
        super().__init__()
        self.session: dict[str, Any] = {}

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with await ContactClient.connect(gateway, **self.session) as client:
            self.session = client.credentials
            while True:
                text = uuid4().hex
                kind = "chat_message" if len(self.acknowledged) % 4 else "contact_request"
                await client.send({"type": kind, "message": text})
                await heard(client, is_type(f"{kind}_received"))
                self.acknowledged.append(text)
                if len(self.acknowledged) % 4 == 3:
                    await client.until(is_type("chat_message"), PATIENCE)


class WeChatVisitor(Visitor):
    """On the WeChat wire."""

    wire = "wechat"

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with await WeChatClient.open(gateway, login=self.name) as client:
            while True:
                text = uuid4().hex
                await client.send({"type": "chat", "query": text, "id": text})
                await heard(client, is_type("chat_processing"))
                self.acknowledged.append(text)
                if len(self.acknowledged) % 2:
                    await client.until(is_type("chat_response"), PATIENCE)


class Caller(Visitor):
    """On 易事厅's wire, whose answers come later."""

    wire = "yishiting"

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with caller(gateway) as client:
            while True:
                text = uuid4().hex
                body = {"user": f"{self.name} {len(self.acknowledged) // 5}", "content": text, "msg_id": text}
                if (await client.post("/chat/async", json=body)).status_code != 200:
                    raise NotTaken
                self.acknowledged.append(text)


class HubVisitor(Visitor):
    """On the hub: asks the bot, and writes letters to somebody who is away."""

    wire = "postoffice"

    def __init__(self) -> None:
        super().__init__()
        self.letters: list[str] = []  # those that are acknowledged
        self.friend = f"/friend/{self.name}"

    async def introduce_friend(self, gateway: GatewayProcess) -> None:
        """Have the friend known: letters are kept for who was there once."""
        async with await HubClient.connect(gateway, self.friend) as friend:
            await friend.until_silent()

    async def say_on(self, gateway: GatewayProcess) -> None:
        async with await HubClient.connect(gateway, self.name, receipts=1) as client:
            while True:
                text = uuid4().hex
                to_bot = len(self.letters) % 4 == 3 and len(self.acknowledged) * 4 < len(self.letters)
                await client.write("AI_CHATBOT" if to_bot else self.friend, text)
                receipt = (await client.until(is_type("receipt"), PATIENCE))[-1]
                if receipt["subject"] not in ("delivered", "queued"):
                    raise NotTaken
                (self.acknowledged if to_bot else self.letters).append(text)


WIRES: tuple[type[Visitor], ...] = (
    PipelineVisitor, RoomVisitor, ContactVisitor, WeChatVisitor, Caller, HubVisitor,
)  # fmt: skip


async def heard(client: SocketClient, is_acknowledgement: Callable[[Frame], bool]) -> None:
    """Return once an acknowledgement came; raise NotTaken where an error did."""
    frames = await client.until(lambda frame: is_error(frame) or is_acknowledgement(frame), PATIENCE)
    if is_error(frames[-1]):
        raise NotTaken


def is_error(frame: Frame) -> bool:
    """Tell whether a frame says that something was not taken, on any wire of sockets."""
    return frame["type"] == "error" or bool(frame.get("code"))


def is_echo(frame: Frame, text: str) -> bool:
    """Tell whether a frame acknowledges `text` on the pipeline wire."""
    return frame["type"] == "user_message" and bool(frame["data"]["content"] == text)
