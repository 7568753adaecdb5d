"""Phones that come back for what they missed."""

from uuid import uuid4

from conversations.selectors import REPLAY_LIMIT
from tests.conftest import GatewayFactory
from tests.faults.model import FakeModel
from tests.support.applications import change
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient


async def test_an_answer_missed_by_a_phone_that_dropped_is_replayed(modelled: GatewayProcess, slow: FakeModel) -> None:
    async with await WeChatClient.open(modelled, login=uuid4().hex) as client:
        token = client.resume_token
        await client.chat("first")
        await client.send({"type": "chat", "query": "second", "id": "q2"})
        await client.recv()
    async with await WeChatClient.open(modelled) as client:
        response = await client.resume(token, 2)
        assert (response["type"], response["code"]) == ("resume_response", 0)
        assert response["data"]["resumed"]
        answer = await client.recv()
        assert (answer["type"], answer["data"]["seq"], answer["data"]["request_id"]) == ("chat_response", 4, "q2")
        again = await client.resume(token, 0)
        assert again["data"]["last_seq"] == 4
        assert [(await client.recv())["data"]["seq"] for _ in range(2)] == [2, 4]
        ahead = await client.resume(token, 99)
        assert (ahead["code"], ahead["data"]["resumed"], ahead["data"]["last_seq"]) == (0, False, 4)
        assert ahead["message"] == "会话已恢复，但last_seq超出会话的最后一条消息，无法补发"
        assert (await client.chat("third"))[-1]["data"]["seq"] == 6


async def test_who_missed_too_much_hears_so(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"RATE_LIMITS": "off"})
    change(gateway, "DELETE FROM conversations_route")
    gateway.restart()
    async with await WeChatClient.open(gateway, login="c") as client:
        for _ in range(REPLAY_LIMIT // 2 + 1):
            await client.chat("你好")
        response = await client.resume(client.resume_token, 0)
        assert response["data"]["resumed"] is False
        assert response["message"] == "会话已恢复，但错过的消息过多，无法补发"


async def test_a_resume_in_the_middle_costs_no_acknowledgement(gateway: GatewayProcess) -> None:
    async with await WeChatClient.open(gateway, login=uuid4().hex) as client:
        for number in range(10):
            await client.send({"type": "chat", "query": "你好", "id": f"q{number}"})
            await client.send({"type": "resume", "resume_token": client.resume_token, "last_seq": 2 * number})
        frames = await client.until(lambda frame: (frame["data"] or {}).get("seq") == 20)
        frames += await client.recv_after_ping()
        named = [frame["data"]["request_id"] for frame in frames if frame["type"] == "chat_processing"]
        assert named == [f"q{number}" for number in range(10)]
        assert {frame["data"]["request_id"] for frame in frames if frame["type"] == "chat_response"} == set(named)


async def test_nothing_is_replayed_after_a_plain_login(modelled: GatewayProcess, slow: FakeModel) -> None:
    code = uuid4().hex
    async with await WeChatClient.open(modelled, login=code) as client:
        await client.send({"type": "chat", "query": "first"})
        await client.recv()
    async with await WeChatClient.open(modelled, login=code) as client:
        frames = await client.chat("second")
        assert [frame["type"] for frame in frames] == ["chat_processing", "chat_response"]
        assert frames[-1]["data"]["seq"] == 4
