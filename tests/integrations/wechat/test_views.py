"""The WeChat wire over HTTP: always 200, the code is in the body."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from chatgateway.handler import LARGEST_BODY
from tests.conftest import GatewayFactory
from tests.faults.model import FakeModel, Mode
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient


async def call(
    gateway: GatewayProcess, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
) -> Any:
    """Return the JSON of a call; bytes are sent as they are."""
    content = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        response = await client.request(method, f"/wechat/{path}", headers=headers, **content)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def post(gateway: GatewayProcess, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Any:
    return await call(gateway, "POST", path, body, headers=headers)


async def test_health(gateway: GatewayProcess) -> None:
    answer = await call(gateway, "GET", "health")
    assert (answer["code"], answer["message"]) == (0, "服务正常")
    assert datetime.fromisoformat(answer["timestamp"]).utcoffset() == timedelta()
    assert answer.keys() == {"code", "message", "timestamp"}


async def test_the_documents_calls(gateway: GatewayProcess) -> None:
    login = await post(gateway, "login", {"code": "test_code"})
    assert (login["code"], login["message"]) == (0, "登录成功")
    assert login["data"].keys() == {"openid", "session_id", "resume_token", "session_token"}
    answer = await post(gateway, "chat", {"query": "你好", "openid": "test_openid", "use_auto_rag": False})
    assert (answer["code"], answer["message"]) == (0, "成功")
    assert answer["data"].keys() == {"msg", "id", "session_id"}
    assert answer["data"]["msg"]


async def test_an_openid_is_a_claim_and_no_identity(gateway: GatewayProcess) -> None:
    login = (await post(gateway, "login", {"code": uuid4().hex}))["data"]
    claim = {"query": "你好", "openid": login["openid"]}
    claimed = [(await post(gateway, "chat", claim))["data"]["session_id"] for _ in range(2)]
    assert claimed[0] == claimed[1] != login["session_id"]
    fresh = [(await post(gateway, "chat", {"query": "你好"}))["data"]["session_id"] for _ in range(2)]
    assert len({*fresh, claimed[0], login["session_id"]}) == 4


async def test_the_socket_and_http_share_the_users_session(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login=uuid4().hex) as client:
        headers = {"Authorization": f"Bearer {client.resume_token}"}
        answer = await post(gateway, "chat", {"query": "你好"}, headers=headers)
        assert answer["data"]["session_id"] == client.session_id
        assert (await client.chat("你好"))[-1]["data"]["seq"] == 4


async def test_a_damaged_session_token_opens_no_new_session(gateway: GatewayProcess) -> None:
    token = (await post(gateway, "login", {"code": uuid4().hex}))["data"]["session_token"]
    payload, time, signature = token.split(":")
    for sent in (token[:-1], token[:20], f"x{token[1:]}", f"{payload}:{time}", f"{payload}:1:{signature}"):
        headers = {"Authorization": f"Bearer {sent}"}
        answer = await post(gateway, "chat", {"query": "你好", "openid": "o"}, headers=headers)
        assert answer == {"code": 401, "message": "请先登录", "data": None}, sent


async def test_in_open_mode_a_placeholder_is_ignored(gateway: GatewayProcess) -> None:
    for sent in ("<token>", "YOUR_TOKEN", "undefined"):
        headers = {"Authorization": f"Bearer {sent}"}
        assert (await post(gateway, "chat", {"query": "你好"}, headers=headers))["code"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("POST", "login", {}, 400, "缺少code参数"),
        ("POST", "login", b"", 400, "缺少code参数"),
        ("POST", "login", {"code": 5}, 400, "code必须是字符串"),
        ("POST", "login", b'{"code"', 400, "消息格式错误，需要JSON格式"),
        ("POST", "login", b'{"code":"a","code":"b"}', 400, "消息格式错误，需要JSON格式"),
        ("POST", "login", [], 400, "消息格式错误，需要JSON格式"),
        ("POST", "chat", {"openid": "o"}, 400, "缺少query参数"),
        ("POST", "chat", {"query": "你好", "openid": []}, 400, "openid必须是字符串"),
        ("POST", "chat", b"x" * 65537, 413, "请求内容过大"),
        ("GET", "chat", None, 405, "请求方法不支持"),
        ("PUT", "login", {"code": "c"}, 405, "请求方法不支持"),
        ("OPTIONS", "chat", None, 405, "请求方法不支持"),
        ("POST", "health", {}, 405, "请求方法不支持"),
    ],
)
async def test_a_refusal(gateway: GatewayProcess, method: str, path: str, body: Any, code: int, message: str) -> None:
    assert await call(gateway, method, path, body) == {"code": code, "message": message, "data": None}


async def test_what_is_refused_before_any_call_is_told_in_the_body_too(gateway: GatewayProcess) -> None:
    refused = {"code": 400, "message": "请求无效", "data": None}
    for path in ("login", "chat", "health"):
        assert await post(gateway, path, {}, headers={"Host": "evil.example"}) == refused


@pytest.mark.parametrize("size", [65537, 1024 * 1024 + 1, LARGEST_BODY + 1])
async def test_too_large_a_body_in_chunks_is_told_in_the_body_too(gateway: GatewayProcess, size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)

    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        response = await client.post("/wechat/chat", content=chunks())
    assert (response.status_code, response.json()["code"]) == (200, 413)


@pytest.mark.parametrize(
    ("origin", "code"), [("https://evil.example", 403), ("null", 403), ("https://servicewechat.com", 0)]
)
async def test_a_strangers_page_may_not_call(gateway: GatewayProcess, origin: str, code: int) -> None:
    for path, body in (("login", {"code": "c"}), ("chat", {"query": "你好"})):
        assert (await post(gateway, path, body, headers={"Origin": origin}))["code"] == code


async def test_a_failed_answer_is_a_failure_in_the_body(modelled: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.STALL
    answer = await post(modelled, "chat", {"query": "question"})
    assert (answer["code"], answer["message"]) == (500, "处理失败: 暂时无法回答，请稍后再试")
    assert answer["data"]["msg"].startswith("tok00")


async def test_limits(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    answers = [await post(gateway, "login", {"code": "c"}) for _ in range(31)]
    assert [answer["code"] for answer in answers] == [0] * 30 + [429]
    assert answers[-1]["data"]["retry_after"] > 0
    # Made-up visitors share their address's share.
    codes = [(await post(gateway, "chat", {"query": "你好", "openid": f"o{n}"}))["code"] for n in range(61)]
    assert codes == [0] * 60 + [429]
    headers = {"Authorization": f"Bearer {answers[0]['data']['session_token']}"}
    assert (await post(gateway, "chat", {"query": "你好"}, headers=headers))["code"] == 0
