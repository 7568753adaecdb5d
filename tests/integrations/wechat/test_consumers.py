"""The WeChat wire's socket, spoken to by a foreign client on a real server."""

import asyncio
import json
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.conftest import GatewayFactory
from tests.faults.model import FakeModel, Mode
from tests.support.clients import is_type
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient

PROCESSING = {"type": "chat_processing", "code": 0, "message": "正在处理中...", "data": None}
PONG = {"type": "pong", "code": 0, "message": "pong", "data": None}


def failure(kind: str, code: int, message: str) -> dict[str, object]:
    return {"type": kind, "code": code, "message": message, "data": None}


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_the_documents_script_gets_its_frames(start_gateway: GatewayFactory, server: str) -> None:
    gateway = start_gateway(server=server)
    for path in ("/wechat/ws", "/websocket/wechat/ws"):
        async with connect(f"{gateway.ws_url}{path}", proxy=None) as websocket:
            assert json.loads(await websocket.recv()) == failure("connected", 0, "连接成功")
            await websocket.send(json.dumps({"type": "login", "code": "test_code"}))
            login = json.loads(await websocket.recv())
            assert (login["type"], login["code"], login["message"]) == ("login_response", 0, "登录成功")
            assert login["data"].keys() == {"openid", "session_id", "resume_token"}
            assert login["data"]["openid"].startswith("dev-")
            await websocket.send(json.dumps({"type": "chat", "query": "你好", "use_auto_rag": False}))
            assert json.loads(await websocket.recv()) == PROCESSING
            answer = json.loads(await websocket.recv())
            assert (answer["type"], answer["code"], answer["message"]) == ("chat_response", 0, "成功")
            assert answer["data"].keys() == {"msg", "id", "session_id", "seq"}
            assert answer["data"]["session_id"] == login["data"]["session_id"]
    assert gateway.log().count("wechat.login_simulated") == 1


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ({"type": "chat", "query": "你好"}, failure("chat_response", 401, "请先登录")),
        ({"type": "chat"}, failure("chat_response", 401, "请先登录")),
        ({"type": "login"}, failure("login_response", 400, "缺少code参数")),
        ({"type": "login", "code": ""}, failure("login_response", 400, "缺少code参数")),
        ({"type": "resume"}, failure("resume_response", 401, "会话已失效，请重新登录")),
        ({"type": "resume", "resume_token": "密码"}, failure("resume_response", 401, "会话已失效，请重新登录")),
        ({"type": "login", "code": 5}, failure("login_response", 400, "code必须是字符串")),
        ({"type": "login", "code": "x" * 513}, failure("login_response", 400, "code不能超过512个字符")),
        (
            {"type": "resume", "resume_token": "t", "last_seq": "x"},
            failure("resume_response", 400, "last_seq必须是不小于0的整数"),
        ),
        ({"type": "chat", "query": 7}, failure("chat_response", 400, "query必须是字符串")),
        (
            {"type": "chat", "query": 7, "id": "q1"},
            failure("chat_response", 400, "query必须是字符串") | {"data": {"request_id": "q1"}},
        ),
        ({"type": "chat", "query": "a", "id": 7}, failure("chat_response", 400, "id必须是1到128个字符的字符串")),
        ({"type": ["chat"]}, failure("error", 400, "缺少type参数")),
        ({"type": "dance"}, failure("error", 400, "未知的消息类型: dance")),
        ("nonsense", failure("error", 400, "消息格式错误，需要JSON格式")),
        (b'{"type":"ping"}', PONG),
    ],
)
async def test_a_frame_before_the_login(gateway: GatewayProcess, frame: dict[str, Any] | str, answer: object) -> None:
    async with await WeChatClient.open(gateway) as client:
        await client.send(frame)
        assert await client.recv() == answer
        assert await client.ping() == PONG


async def test_a_chat_without_a_query_is_refused(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login="c") as client:
        assert await client.chat("") == [failure("chat_response", 400, "缺少query参数")]


async def test_a_code_is_always_the_same_user_and_another_is_another(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login="one") as first, await WeChatClient.open(gateway) as second:
        await second.log_in("one")
        assert second.account["openid"] == first.account["openid"]
        assert second.session_id == first.session_id
        await second.log_in("two")
        assert second.session_id != first.session_id


async def test_frames_sent_right_after_a_login_wait_for_it(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway) as client:
        await client.send({"type": "login", "code": uuid4().hex})
        await client.send({"type": "chat", "query": "你好"})
        assert [(await client.recv())["type"] for _ in range(3)] == [
            "login_response", "chat_processing", "chat_response",
        ]  # fmt: skip


async def test_a_named_question_is_answered_once(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login=uuid4().hex) as client:
        first = await client.chat("你好", id="q1")
        assert [frame["data"]["request_id"] for frame in first] == ["q1", "q1"]
        assert await client.chat("你好", id="q1") == first
        assert (await client.chat("谢谢", id="q1"))[-1]["code"] == 409
        assert (await client.chat("谢谢", id="q2"))[-1]["data"]["seq"] == 4


async def test_another_socket_asks_again_under_the_same_id(gateway: GatewayProcess) -> None:
    code = uuid4().hex
    async with await WeChatClient.open(gateway, login=code) as client:
        first = await client.chat("你好", id="q1")
    async with await WeChatClient.open(gateway, login=code) as client:
        assert await client.chat("你好", id="q1") == first


async def test_twenty_sockets_at_once_get_one_answer_each(modelled: GatewayProcess, model: FakeModel) -> None:
    model.mode, calls, code = Mode.OK, len(model.calls), uuid4().hex
    clients = [await WeChatClient.open(modelled, login=code) for _ in range(20)]
    answers = await asyncio.gather(*(client.chat("question", id="q") for client in clients))
    assert all(frames[-1] == answers[0][-1] for frames in answers)
    assert [await client.recv_after_ping() for client in clients] == [[]] * 20
    assert len(model.calls) == calls + 1
    await asyncio.gather(*(client.close() for client in clients))


async def test_over_two_workers_a_named_question_has_one_answer(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2, database="postgres", environment={"RATE_LIMITS": "off"})
    code = uuid4().hex
    clients = [await WeChatClient.open(gateway, login=code) for _ in range(8)]
    for name, seq in (("a", 2), ("b", 4), ("c", 6)):
        answers = await asyncio.gather(*(client.chat("你好", id=name) for client in clients))
        assert all(frames == answers[0] for frames in answers)
        assert answers[0][-1]["data"]["seq"] == seq
    assert [await client.recv_after_ping() for client in clients] == [[]] * 8
    await asyncio.gather(*(client.close() for client in clients))


async def test_sockets_of_one_user_hear_their_own_answers_only(gateway: GatewayProcess) -> None:
    code = uuid4().hex
    async with await WeChatClient.open(gateway, login=code) as one, await WeChatClient.open(gateway, login=code) as two:
        await one.chat("你好")
        assert await two.recv_after_ping() == []


async def test_deltas_come_only_where_asked_for(modelled: GatewayProcess, slow: FakeModel) -> None:
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        frames = await client.chat("你好", stream=True, id="s")
        assert [frame["type"] for frame in frames[:2]] == ["chat_processing", "chat_delta"]
        texts = [frame["data"]["msg"] for frame in frames[1:]]
        assert all(longer.startswith(shorter) for shorter, longer in pairwise(texts))
        assert {frame["data"]["request_id"] for frame in frames} == {"s"}
        assert "seq" not in frames[1]["data"]
        assert [frame["type"] for frame in await client.chat("你好")] == ["chat_processing", "chat_response"]


async def test_several_questions_are_answered_in_order_and_pings_at_once(
    modelled: GatewayProcess, slow: FakeModel
) -> None:
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        for name in ("a", "b", "c"):
            await client.send({"type": "chat", "query": f"question {name}", "id": name})
        await client.send({"type": "ping"})
        frames = await client.until(
            lambda frame: frame["type"] == "chat_response" and frame["data"]["request_id"] == "c", 30
        )
        answers = [frame["data"]["request_id"] for frame in frames if frame["type"] == "chat_response"]
        assert answers == ["a", "b", "c"]
        kinds = [frame["type"] for frame in frames]
        assert kinds.index("pong") < kinds.index("chat_response")
        for name in answers:
            of_it = [frame["type"] for frame in frames if (frame["data"] or {}).get("request_id") == name]
            assert of_it == ["chat_processing", "chat_response"]


async def test_a_second_login_waits_for_the_answers_of_the_first(modelled: GatewayProcess, slow: FakeModel) -> None:
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        first = client.session_id
        await client.send({"type": "chat", "query": "question"})
        await client.send({"type": "login", "code": uuid4().hex})
        await client.send({"type": "chat", "query": "question"})
        frames = [await client.recv() for _ in range(5)]
        assert [frame["type"] for frame in frames] == [
            "chat_processing", "chat_response", "login_response", "chat_processing", "chat_response",
        ]  # fmt: skip
        sessions = [frame["data"]["session_id"] for frame in frames if (frame["data"] or {}).get("session_id")]
        assert sessions[0] == first
        assert sessions[1] == sessions[2] != first
        assert frames[-1]["data"]["seq"] == 2


async def test_logging_in_again_as_the_same_user_changes_nothing(modelled: GatewayProcess, slow: FakeModel) -> None:
    code = uuid4().hex
    async with await WeChatClient.open(modelled, login=code) as client:
        await client.send({"type": "chat", "query": "question"})
        await client.recv()
        assert (await client.log_in(code))["code"] == 0
        assert (await client.recv())["type"] == "chat_response"


async def test_an_answer_outlives_a_server_that_is_killed(modelled: GatewayProcess, slow: FakeModel) -> None:
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        token = client.resume_token
        await client.send({"type": "chat", "query": "question", "stream": True})
        await client.until(is_type("chat_delta"))
        modelled.restart()
    async with await WeChatClient.open(modelled) as client:
        await client.resume(token)
        answer = await client.recv(40)
        assert (answer["type"], answer["code"], answer["data"]["seq"]) == ("chat_response", 500, 2)
        assert answer["message"].startswith("处理失败: ")


async def test_a_broken_answer_is_told_with_what_was_said(modelled: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.CUT
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        answer = (await client.chat("question"))[-1]
        assert (answer["code"], answer["message"]) == (500, "处理失败: 暂时无法回答，请稍后再试")
        assert answer["data"]["msg"].startswith("tok00")


async def test_recall_hands_the_documents_to_the_model(modelled: GatewayProcess, model: FakeModel) -> None:
    model.mode = Mode.OK
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        await client.chat("如何修改端口？", use_auto_rag=True)
    assert "来源" in str(model.calls[-1].body) or "PORT" in str(model.calls[-1].body)


async def test_too_large_a_frame_closes_with_1009(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login="c") as client:
        await client.send({"type": "chat", "query": "x" * 65536})
        assert await client.closed() == 1009


@pytest.mark.parametrize("frame", [{"type": "dance"}, {"type": "chat", "query": 7}])
async def test_ten_bad_frames_close_with_1008(gateway: GatewayProcess, frame: dict[str, Any]) -> None:
    async with await WeChatClient.open(gateway) as client:
        for _ in range(10):
            await client.send(frame)
        assert await client.closed() == 1008


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://servicewechat.com", 101),
        ("weapp://wechat-game-runtime", 101),
        ("http://localhost:3000", 101),
        ("null", 403),
        ("https://evil.example", 403),
        ("https://servicewechat.com.evil.example", 403),
    ],
)
async def test_origins_are_checked_before_the_upgrade(gateway: GatewayProcess, origin: str, status: int) -> None:
    if status == 101:
        async with await WeChatClient.open(gateway, headers={"Origin": origin}) as client:
            assert client.connected["type"] == "connected"
        return
    with pytest.raises(InvalidStatus) as refused:
        await WeChatClient.open(gateway, headers={"Origin": origin})
    assert refused.value.response.status_code == status


async def test_limits_of_logins_and_messages(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await WeChatClient.open(gateway, login="c") as client:
        for _ in range(60):
            await client.send({"type": "chat", "query": ""})
        # What is refused for another reason is not counted.
        for _ in range(60):
            assert (await client.recv())["code"] == 400
        frames = [await client.chat("你好", id=f"q{number}") for number in range(61)]
        assert [answer[-1]["code"] for answer in frames] == [0] * 60 + [429]
        assert frames[-1][-1]["data"]["request_id"] == "q60"
        assert 0 < frames[-1][-1]["data"]["retry_after"] <= 60
        for _ in range(9):
            await client.send({"type": "chat", "query": "你好"})
        assert await client.closed() == 4129
    async with await WeChatClient.open(gateway) as client:
        codes = [(await client.log_in("c"))["code"] for _ in range(30)]
        assert codes == [0] * 29 + [429]
