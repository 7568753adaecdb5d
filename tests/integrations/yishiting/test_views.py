"""易事厅's calls on a real server that answers from its documents."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.chatgateway.test_health import allow_connections
from tests.conftest import GatewayFactory
from tests.faults.model import closed_port
from tests.support.databases import PostgresServer
from tests.support.server import GatewayProcess, ServerKind
from tests.support.waiting import wait_until
from tests.support.yishiting import Stream, caller, events, question, raw, text_of

JSON = {"Content_Type": "application/json"}


def body(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_a_conversation(start_gateway: GatewayFactory, server: ServerKind) -> None:
    gateway = start_gateway(server=server)
    async with caller(gateway, Accept="text/event-stream") as client:
        streamed = await client.post("/chat", json=question("怎么接入大语言模型？"))
        whole = await client.post("/chat/sync", json={"content": "怎么接入大语言模型？"})
        missing = await client.post("/chat", json={"user": "u"})
    assert streamed.status_code == 200
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert streamed.headers["cache-control"] == "no-cache, no-transform"
    assert streamed.headers["x-accel-buffering"] == "no"
    assert streamed.headers["content-encoding"] == "identity"
    assert len(streamed.headers["x-trace-id"]) == 36
    found = events(streamed.content)
    answer = whole.json()
    assert text_of(found) == answer["msg_content"]
    (doc, *_) = found[-1]["global_output"]["docs"]
    assert list(doc) == ["doc_id", "title", "url", "space_id", "score"]
    (recalled, *_) = answer["recall_docs"]
    assert list(recalled) == ["doc_id", "space_id", "title", "url", "score"]
    assert [type(recalled[name]) for name in recalled] == [str, str, str, str, float]
    assert recalled == doc
    assert list(answer) == [
        "code", "err_msg", "is_async_response", "is_recall_success", "recall_docs", "msg_type", "msg_content",
        "third_party_trace_id",
    ]  # fmt: skip
    assert (answer["code"], answer["err_msg"], answer["is_async_response"]) == (0, "", False)
    assert (answer["is_recall_success"], answer["msg_type"]) == (1, "text")
    assert (missing.status_code, missing.json()) == (400, {"code": 1, "err_msg": "缺少必要字段: msg_type"})


async def test_what_the_documents_do_not_say_is_no_success(gateway: GatewayProcess) -> None:
    async with caller(gateway) as client:
        found = events((await client.post("/chat", json=question("今天北京天气怎么样？"))).content)
        answer = (await client.post("/chat/sync", json=question("今天北京天气怎么样？"))).json()
    assert "不知道" in text_of(found)
    assert found[-1]["global_output"] == {"urls": "", "context": "", "answer_success": 0, "docs": []}
    assert (answer["code"], answer["is_recall_success"], answer["recall_docs"]) == (0, 0, [])


@pytest.mark.parametrize("path", ["/chat", "/chat/sync", "/chat/async"])
@pytest.mark.parametrize(
    ("sent", "headers", "status", "words"),
    [
        (b"hello", JSON, 400, "请求格式错误，需要JSON格式"),
        (b"", JSON, 400, "请求格式错误，需要JSON格式"),
        (b"[]", JSON, 400, "请求格式错误，需要JSON格式"),
        (b'{"content":NaN}', JSON, 400, "请求格式错误，需要JSON格式"),
        (b'{"content":"a","content":"b"}', JSON, 400, "请求格式错误，需要JSON格式"),
        (b'{"content":"\\ud800"}', JSON, 400, "请求格式错误，需要JSON格式"),
        (b'{"content":"\xff"}', JSON, 400, "请求格式错误，需要JSON格式"),
        (question(), {"Content_Type": "text/plain"}, 400, "请求格式错误，需要JSON格式"),
        (question(), {}, 400, "请求格式错误，需要JSON格式"),
        (question(content=""), JSON, 400, "缺少必要字段: content"),
        (question(content=None), JSON, 400, "缺少必要字段: content"),
        (question(msg_type="image"), JSON, 400, "暂不支持消息类型: image"),
        (question(msg_type=["a"]), JSON, 400, '暂不支持消息类型: ["a"]'),
        (question(content=5), JSON, 400, "字段类型错误: content"),
        (question(session_id=[]), JSON, 400, "字段类型错误: session_id"),
        (question(content="x" * 65_536), JSON, 413, "请求内容过大"),
        (b"x", {**JSON, "Content_Length": "999999999"}, 413, "请求内容过大"),
    ],
)
def test_a_bad_call_is_refused_in_the_words_of_the_wire(
    gateway: GatewayProcess, path: str, sent: Any, headers: dict[str, str], status: int, words: str
) -> None:
    assert raw(gateway, "POST", path, body(sent), **headers) == (status, {"code": 1, "err_msg": words})


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/chat", 405, "请求方法不支持"),
        ("PUT", "/chat/sync", 405, "请求方法不支持"),
        ("OPTIONS", "/chat/async", 405, "请求方法不支持"),
        ("POST", "/chat/", 404, "接口不存在"),
        ("POST", "/chat/other", 404, "接口不存在"),
        ("GET", "/chat/sync/more", 404, "接口不存在"),
        ("GET", "/chat/async/nonsense", 404, "追踪ID不存在"),
        ("GET", "/chat/async/00000000-0001-8000-8000-000000000000", 404, "追踪ID不存在"),
    ],
)
def test_what_is_not_there(gateway: GatewayProcess, method: str, path: str, status: int, words: str) -> None:
    assert raw(gateway, method, path, b"{}", **JSON) == (status, {"code": 1, "err_msg": words})


async def test_callers_who_name_nobody_share_nothing(gateway: GatewayProcess) -> None:
    async with caller(gateway) as client:
        bodies = [{"content": "What can you do?"}, {"content": "What can you do?"}]
        answers = [(await client.post("/chat/sync", json=one)).json() for one in bodies]
        assert answers[0]["third_party_trace_id"] != answers[1]["third_party_trace_id"]
        same = {"content": "What can you do?", "msg_id": "nobody-1"}
        answers = [(await client.post("/chat/sync", json=same)).json() for _ in range(2)]
        assert answers[0] == answers[1]


async def test_ids_may_be_numbers_and_more_fields_are_ignored(gateway: GatewayProcess) -> None:
    more: dict[str, Any] = {
        "user": 7,
        "msg_id": 8,
        "session_id": None,
        "business_keys": ["a"],
        "raw_msg": "{}",
        "extra": {},
    }
    async with caller(gateway) as client:
        response = await client.post("/chat", json=question(**more))
    assert text_of(events(response.content))


async def test_one_conversation_may_not_ask_too_often(gateway: GatewayProcess) -> None:
    same = question(user="hasty")
    async with caller(gateway) as client:
        responses = await asyncio.gather(*(client.post("/chat/sync", json=same) for _ in range(61)))
        (refused,) = [response for response in responses if response.status_code != 200]
        assert refused.status_code == 429
        assert refused.json()["err_msg"].startswith("操作过于频繁")
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.post("/chat/sync", json=question())).status_code == 200


async def test_callers_who_hang_up_at_once_leave_no_trace_in_the_log(gateway: GatewayProcess) -> None:
    for path in ("/chat", "/chat/sync", "/chat/async") * 10:
        async with Stream(gateway, question(), path):
            pass
    async with caller(gateway) as client:
        assert (await client.post("/chat/sync", json=question())).status_code == 200
    assert "Traceback" not in gateway.log()


async def test_a_page_of_a_stranger_may_not_ask(gateway: GatewayProcess) -> None:
    async with caller(gateway, Origin="https://evil.example") as client:
        response = await client.post("/chat", json=question())
    assert (response.status_code, response.json()) == (403, {"code": 1, "err_msg": "没有权限"})


async def test_health(gateway: GatewayProcess) -> None:
    async with caller(gateway, Accept="text/plain") as client:
        response: httpx2.Response = await client.get("/health")
        assert (await client.post("/health")).json() == {"code": 1, "err_msg": "请求方法不支持"}
    state = response.json()
    assert response.status_code == 200
    assert state.pop("version")
    assert state == {"status": "ok", "database": "ok", "channel_layer": "ok", "responder": "ok"}


async def test_health_without_the_channel_layer(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(redis_url=f"redis://127.0.0.1:{closed_port()}/0")
    async with caller(gateway) as client:
        response = await client.get("/health")
        assert (await client.post("/chat/sync", json=question())).status_code == 200
    assert (response.status_code, response.json()["status"], response.json()["database"]) == (200, "degraded", "ok")
    assert response.json()["channel_layer"] != "ok"


def test_health_without_the_database(start_gateway: GatewayFactory, postgres: PostgresServer) -> None:
    gateway = start_gateway(database="postgres", environment={"LOCK_TIMEOUT": "1"})
    allow_connections(gateway.database_url, allowed=False)
    wait_until(lambda: raw(gateway, "GET", "/health")[0] == 503, timeout=5, what="GET /health 503")
    assert raw(gateway, "GET", "/health")[1]["status"] == "unavailable"
    status, refused = raw(gateway, "POST", "/chat/sync", body(question()), **JSON)
    assert (status, refused) == (503, {"code": 1, "err_msg": "服务暂时不可用，请稍后再试。"})
    allow_connections(gateway.database_url, allowed=True)
    wait_until(lambda: raw(gateway, "GET", "/health")[0] == 200, timeout=30, what="GET /health 200")
    assert raw(gateway, "POST", "/chat/sync", body(question()), **JSON)[0] == 200
