"""A person on each wire, who asks one question and reads the answer in the wire's own words."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect

from tests.support.clients import PATIENCE, Frame, PipelineClient, answer

Person = Callable[[str, str], Awaitable[str]]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ClientConnection]:
    """Open a socket; all that is done with it is bounded in time."""
    async with asyncio.timeout(4 * PATIENCE), connect(url, proxy=None) as socket:
        yield socket


async def send(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame, ensure_ascii=False))


async def received(socket: ClientConnection, kind: str) -> Frame:
    """Return the next frame, which is of a type."""
    frame: Frame = json.loads(await socket.recv())
    assert frame["type"] == kind, frame
    return frame


async def on_pipeline(host: str, question: str) -> str:
    """Ask on the pipeline wire."""
    async with await PipelineClient.connect(f"ws://{host}") as client:
        return answer(await client.ask(question))


async def on_contact(host: str, question: str) -> str:
    """Ask on the contact wire."""
    async with opened(f"ws://{host}/contact") as socket:
        await received(socket, "connection_established")
        await send(socket, type="chat_message", message=question, timestamp="2025-01-01T12:00:00")
        await received(socket, "chat_message_received")
        frame = await received(socket, "chat_message")
        assert frame["sender"] == "assistant"
        return str(frame["message"])


async def on_wechat(host: str, question: str) -> str:
    """Ask on the WeChat wire."""
    async with opened(f"ws://{host}/wechat/ws") as socket:
        await received(socket, "connected")
        await send(socket, type="login", code=uuid4().hex)
        assert (await received(socket, "login_response"))["code"] == 0
        await send(socket, type="chat", query=question, use_auto_rag=False)
        await received(socket, "chat_processing")
        frame = await received(socket, "chat_response")
        assert frame["code"] == 0
        return str(frame["data"]["msg"])


async def on_hub(host: str, question: str) -> str:
    """Write to the bot as a client of the hub."""
    me = f"/person/{uuid4().hex}"
    async with opened(f"ws://{host}/?clientID={me}") as socket:
        letter = {"from": me, "to": "AI_CHATBOT", "subject": "问题", "content": question, "type": "msg"}
        await send(socket, **letter)
        frame = await received(socket, "msg")
        assert (frame["from"], frame["to"]) == ("AI_CHATBOT", me)
        return str(frame["content"])


async def on_chat(host: str, question: str) -> str:
    """Ask on the 易事厅 wire."""
    events = [event async for event in chat_events(f"http://{host}/chat", question)]
    assert [event["finished"] for event in events] == [False] * (len(events) - 1) + [True]
    return "".join(event["response"] for event in events)


async def chat_events(url: str, question: str) -> AsyncIterator[dict[str, Any]]:
    """Give the events of a streamed answer."""
    async with (
        httpx.AsyncClient(timeout=4 * PATIENCE, trust_env=False) as client,
        aconnect_sse(client, "POST", url, json=asked(question)) as source,
    ):
        async for event in source.aiter_sse():
            assert event.event == "delta"
            yield event.json()


def asked(question: str) -> dict[str, Any]:
    """Return the body of a new question to `/chat`."""
    names = {"user": "test_user", "msg_id": uuid4().hex, "session_id": uuid4().hex}
    return {**names, "msg_type": "text", "content": question, "business_keys": []}


WIRES: dict[str, Person] = {
    "pipeline": on_pipeline,
    "contact": on_contact,
    "wechat": on_wechat,
    "hub": on_hub,
    "chat": on_chat,
}
