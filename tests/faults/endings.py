"""A question on every wire, and its end there: one frame or body in the wire's own shape, and nothing after it.

Each of WIRES asks, checks the shape of what ends the answer, and returns its words; None where the wire does not tell
them (易事厅's callers hear of a failure, and of no more).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import httpx2
import msgspec

from tests.support.applications import make_application
from tests.support.clients import PipelineClient, answer, is_type
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient
from tests.support.yishiting import caller, events, question, text_of

How = Literal["failed", "cut", "busy"]
LONGEST = 180.0  # seconds for an answer on a slow machine; the longest has 55
WECHAT_WORDS = {
    "failed": "处理失败: 暂时无法回答，请稍后再试",
    "cut": "处理失败: 回答超过时限或被中断",
    "busy": "处理失败: 暂时无法回答，请稍后再试",
}
FAULT = "服务器内部错误"
BUSY = "服务繁忙，请稍后再试。"


@dataclass
class Callbacks:
    """Receives the callbacks of the application that `token` stands for; `bodies` holds them by `msg_id`."""

    token: str = ""
    bodies: dict[str, list[Any]] = field(default_factory=dict)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        body = msgspec.json.decode(await reader.readexactly(length))
        self.bodies.setdefault(body["msg_id"], []).append(body)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def callbacks(gateway: GatewayProcess) -> AsyncIterator[Callbacks]:
    """Serve the callback address of an application of a gateway."""
    received = Callbacks()
    async with await asyncio.start_server(received.take, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        received.token = make_application(gateway, callback_url=url).token
        yield received


Ask = Callable[[GatewayProcess, str, How], Awaitable[str | None]]


async def _pipeline(gateway: GatewayProcess, text: str, how: How) -> str:
    async with await PipelineClient.connect(gateway) as client:
        frames = await client.ask(text, LONGEST)
        frames += await client.recv_after_ping()
    ends = [number for number, frame in enumerate(frames) if frame.get("data", {}).get("is_final")]
    assert ends == [0, len(frames) - 1], "the question and the answer, and nothing after it"
    assert not any(frame["type"] == "error" for frame in frames)
    assert frames[-1]["data"]["seq"] == 2
    return answer(frames)


async def _contact(gateway: GatewayProcess, text: str, how: How) -> str:
    async with await ContactClient.connect(gateway) as client:
        await client.send({"type": "chat_message", "message": text, "timestamp": ""})
        frames = await client.until(is_type("chat_message"), LONGEST)
        frames += await client.recv_after_ping()
    assert [frame["type"] for frame in frames] == ["chat_message_received", "chat_message"]
    assert frames[-1]["sender"] == "assistant"
    return str(frames[-1]["message"])


async def _wechat(gateway: GatewayProcess, text: str, how: How) -> str:
    async with await WeChatClient.open(gateway, login=uuid4().hex) as client:
        await client.send({"type": "chat", "query": text, "use_auto_rag": False})
        frames = await client.until(is_type("chat_response"), LONGEST)
        frames += await client.recv_after_ping()
    assert [frame["type"] for frame in frames] == ["chat_processing", "chat_response"]
    return _wechat_words(frames[-1], how)


async def _wechat_http(gateway: GatewayProcess, text: str, how: How) -> str:
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=LONGEST) as client:
        response = await client.post("/wechat/chat", json={"query": text, "openid": uuid4().hex})
    assert response.status_code == 200
    return _wechat_words(response.json(), how)


def _wechat_words(body: dict[str, Any], how: How) -> str:
    assert (body["code"], body["message"]) == (500, WECHAT_WORDS[how])
    return str(body["data"]["msg"])


async def _stream(gateway: GatewayProcess, text: str, how: How) -> str:
    async with caller(gateway) as client:
        response = await client.post("/chat", json=question(text), timeout=LONGEST)
    assert response.status_code == 200
    found = events(response.content)
    assert found[-1]["global_output"]["answer_success"] == 0
    return text_of(found)


async def _sync(gateway: GatewayProcess, text: str, how: How) -> str | None:
    async with caller(gateway) as client:
        response = await client.post("/chat/sync", json=question(text), timeout=LONGEST)
    if how == "busy":
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json() == {"code": 1, "err_msg": BUSY}
        return None
    assert response.status_code == (500 if how == "failed" else 200), response.text[-200:]
    return _yishiting_words(response.json(), how)


async def _async(gateway: GatewayProcess, text: str, how: How) -> str | None:
    async with caller(gateway) as client:
        taken = (await client.post("/chat/async", json=question(text))).json()
        path = f"/chat/async/{taken['third_party_trace_id']}"

        async def is_answered() -> bool:
            return not (await client.get(path)).json().get("is_async_response")

        await eventually(is_answered, timeout=LONGEST, what="the answer")
        return _yishiting_words((await client.get(path)).json(), how)


async def called_back(gateway: GatewayProcess, text: str, how: How, received: Callbacks) -> str | None:
    """Ask 易事厅's way for an answer that is posted to the caller, where tokens are wanted; return its words."""
    body = question(text)
    async with caller(gateway, Authorization=f"Bearer {received.token}") as client:
        assert (await client.post("/chat/async", json=body)).json()["is_async_response"] is True

    async def has_come() -> bool:
        return body["msg_id"] in received.bodies

    await eventually(has_come, timeout=LONGEST, what="the callback")
    (told,) = received.bodies[body["msg_id"]]
    return _yishiting_words(told, how)


def _yishiting_words(body: dict[str, Any], how: How) -> str | None:
    if how == "cut":
        assert (body["code"], body["err_msg"]) == (0, "")
        return str(body["msg_content"])
    assert (body["code"], body["err_msg"]) == (1, FAULT)
    assert "msg_content" not in body
    return None


async def _mail(gateway: GatewayProcess, text: str, how: How) -> str:
    async with await HubClient.connect(gateway, f"/user/{uuid4().hex}") as client:
        await client.write("AI_CHATBOT", text)
        (letter,) = await client.until(lambda _: True, LONGEST)
        assert await client.until_silent() == []
    assert (letter["from"], letter["type"]) == ("AI_CHATBOT", "msg")
    return str(letter["content"])


WIRES: dict[str, Ask] = {
    "pipeline": _pipeline,
    "contact": _contact,
    "WeChat": _wechat,
    "WeChat HTTP": _wechat_http,
    "易事厅 stream": _stream,
    "易事厅 sync": _sync,
    "易事厅 async": _async,
    "hub": _mail,
}
