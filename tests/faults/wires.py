"""One talker a wire, with what it needs open: each question ends in an answer or in an error of the wire's own shape.

async with talkers(gateway) as everybody:
    told = await ask_all(everybody)
    assert all(one.answered for one in told)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from tests.support import yishiting
from tests.support.clients import Frame, PipelineClient, SocketClient, is_final
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient

PATIENCE = 60.0


class Told(NamedTuple):
    """How a question ended: on which wire, answered or with which words of an error, and after how many seconds."""

    wire: str
    answered: bool
    error: str
    seconds: float


class End(NamedTuple):
    """What came for one question: whether it was acknowledged, and the error, empty where it was answered."""

    acknowledged: bool
    error: str = ""


@dataclass
class Talker:
    """Somebody who asks on one wire, and remembers of which texts he was told what."""

    wire: str
    send: Callable[[str], Awaitable[End]]
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # of these he was told that they were not stored
    doubtful: list[str] = field(default_factory=list)  # of these that nobody knows
    session: dict[str, Any] = field(default_factory=dict)  # re-enters his session from another socket

    async def ask(self) -> Told:
        """Ask something new, and wait for its end."""
        text = f"What can you do? {uuid4().hex}"
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            end = await self.send(text)
        if end.acknowledged:
            self.acknowledged.append(text)
        elif says_unknown(end.error):
            self.doubtful.append(text)
        else:
            self.refused.append(text)
        return Told(self.wire, not end.error, end.error, time.monotonic() - began)


def says_unknown(error: str) -> bool:
    """Tell whether an error says that nobody knows, and that it may be sent again."""
    return "same id" in error or "相同的ID" in error or "未知" in error or "无法确认" in error


async def ask_all(everybody: Sequence[Talker]) -> list[Told]:
    """Let all of them ask at once, and return how each was told."""
    return list(await asyncio.gather(*(talker.ask() for talker in everybody)))


@asynccontextmanager
async def talkers(gateway: GatewayProcess) -> AsyncIterator[list[Talker]]:
    """Give a talker for each wire, and for each kind of call of a wire, of an open gateway."""
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(await PipelineClient.connect(gateway))
        contact = await stack.enter_async_context(await ContactClient.connect(gateway))
        wechat = await stack.enter_async_context(await WeChatClient.open(gateway, login=uuid4().hex))
        hub = await stack.enter_async_context(await HubClient.connect(gateway, f"/me/{uuid4().hex}", receipts=1))
        http = await stack.enter_async_context(yishiting.caller(gateway))
        yield [
            Talker(
                "pipeline",
                lambda text: _on_pipeline(pipeline, text),
                session={"session_id": pipeline.session_id, "resume_token": pipeline.resume_token},
            ),
            Talker("contact", lambda text: _on_contact(contact, text)),
            Talker("wechat", lambda text: _on_wechat(wechat, text)),
            Talker("hub", lambda text: _on_hub(hub, text)),
            Talker("yishiting", lambda text: _by_call(http, "/chat/sync", yishiting.question(text))),
            Talker("yishiting stream", lambda text: _by_stream(http, text)),
            Talker("wechat call", lambda text: _by_call(http, "/wechat/chat", {"query": text, "openid": uuid4().hex})),
        ]


async def _on_pipeline(client: PipelineClient, text: str) -> End:
    await client.say(text, client_msg_id=text[-32:])
    frames = await client.until(lambda frame: frame["type"] == "error" or is_final(frame), PATIENCE)
    return End(_came(frames, "user_message"), _error(frames[-1]))


async def _on_contact(client: ContactClient, text: str) -> End:
    await client.send({"type": "chat_message", "message": text, "timestamp": ""})
    frames = await client.until(lambda frame: frame["type"] in {"error", "chat_message"}, PATIENCE)
    return End(_came(frames, "chat_message_received"), _error(frames[-1]))


async def _on_wechat(client: WeChatClient, text: str) -> End:
    await client.send({"type": "chat", "query": text, "id": text[-32:]})
    frames = await client.until(lambda frame: frame["type"] in {"error", "chat_response"}, PATIENCE)
    last = frames[-1]
    assert last["code"] == 0 or last["data"]["request_id"] == text[-32:], "an error names its question"
    return End(_came(frames, "chat_processing"), "" if last["code"] == 0 else str(last["message"]))


async def _on_hub(client: HubClient, text: str) -> End:
    await client.write(client.id, text)
    receipt = (await client.until(lambda letter: letter["type"] == "receipt", PATIENCE))[-1]
    if receipt["subject"] == "rejected":
        return End(acknowledged=False, error=str(receipt["content"]["reason"]))
    return End(acknowledged=True)


async def _by_call(http: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> End:
    response = await http.post(path, json=body, timeout=PATIENCE)
    answer = response.json()
    failed = response.status_code != 200 or answer.get("code", 0) != 0
    return End(not failed, str(answer.get("message") or answer) if failed else "")


async def _by_stream(http: httpx2.AsyncClient, text: str) -> End:
    response = await http.post("/chat", json=yishiting.question(text), timeout=PATIENCE)
    if response.status_code != 200:
        return End(acknowledged=False, error=str(response.json()))
    return End(acknowledged=bool(yishiting.text_of(yishiting.events(response.content))))


def _came(frames: Sequence[Frame], kind: str) -> bool:
    return any(frame["type"] == kind for frame in frames)


def _error(frame: Frame) -> str:
    return str(frame["message"]) if frame["type"] == "error" else ""


def is_open(client: SocketClient) -> bool:
    """Tell whether a client's socket is still open, as far as it knows."""
    return client.socket.close_code is None
