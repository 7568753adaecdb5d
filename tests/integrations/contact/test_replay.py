"""Visitors of the contact wire who come back, or go from one session into another."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import GatewayFactory, Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.contact import ContactClient
from tests.support.server import GatewayProcess

NO_SUCH_SESSION = "会话不存在或恢复令牌无效"


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [str(frame["type"]) for frame in frames]


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that takes two seconds for each answer."""
    with model_in_thread(Mode.SLOW) as model:
        model.delay = 0.1
        yield model


@pytest.fixture(scope="module")
def modelled(model: FakeModel, serve: Serve) -> Iterator[GatewayProcess]:
    """An open gateway whose answers come from the model."""
    with serve(model=model.base_url()) as gateway:
        yield gateway


async def test_a_visitor_comes_back_by_query_and_asks_for_what_he_missed(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        said = await client.chat("这个产品能做什么？")
        credentials = client.credentials
    async with await ContactClient.connect(gateway, **credentials) as client:
        assert client.credentials == credentials
        assert await client.recv_after_ping() == [], "nothing is replayed without being asked for"
        await client.resume(0)
        resumed, question, answer = [await client.recv() for _ in range(3)]
        assert (resumed["type"], resumed["resumed"], resumed["last_seq"]) == ("resumed", True, 2)
        assert (question["sender"], question["message"], question["seq"]) == ("user", "这个产品能做什么？", 1)
        assert (answer["sender"], answer["message"], answer["seq"]) == ("assistant", said[-1]["message"], 2)
        assert question["message_id"] == answer["message_id"] == said[0]["message_id"]
    async with await ContactClient.connect(gateway, last_seq=1, **credentials) as client:
        assert [(await client.recv()).get("seq") for _ in range(2)] == [None, 2]
        assert await client.recv_after_ping() == []


async def test_a_visitor_comes_back_by_frame(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as first:
        await first.chat("这个产品能做什么？")
        async with await ContactClient.connect(gateway) as client:
            await client.resume(1, **first.credentials)
            resumed, answer = await client.recv(), await client.recv()
            assert (resumed["client_id"], answer["seq"]) == (first.established["client_id"], 2)
            acknowledged, further = await client.chat("如何部署？")
            assert (acknowledged["seq"], further["seq"]) == (3, 4)
            assert (await first.recv())["message"] == further["message"]


async def test_a_resume_in_the_middle_costs_no_acknowledgement_and_no_answer(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.resume(0)
        for number in range(15):
            await client.send({"type": "chat_message", "message": f"question {number}"})
            await client.resume(0)
        acknowledged: list[str] = []
        answered: set[str] = set()
        while len(acknowledged) < 15 or answered != set(acknowledged):
            frame = await client.recv()
            if frame["type"] == "chat_message_received":
                acknowledged.append(frame["message_id"])
            elif frame.get("sender") == "assistant":
                answered.add(frame["message_id"])
        rest = await client.recv_after_ping()
        assert "chat_message_received" not in types(rest)
        assert len(set(acknowledged)) == 15


async def test_who_has_seen_more_than_there_is_hears_so(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.resume(99)
        resumed = await client.recv()
        assert (resumed["resumed"], resumed["last_seq"]) == (False, 0)


@pytest.mark.parametrize("client_id", ["own", "00000000-0000-4000-8000-0000000000ff", "nonsense"])
async def test_a_foreign_session_looks_like_a_missing_one(gateway: GatewayProcess, client_id: str) -> None:
    async with await ContactClient.connect(gateway) as victim, await ContactClient.connect(gateway) as client:
        await victim.chat("secret")
        target = victim.established["client_id"] if client_id == "own" else client_id
        await client.resume(0, client_id=target)
        error = await client.recv()
        assert (error["type"], error["message"]) == ("error", NO_SUCH_SESSION)
        assert len(await client.chat("still here?")) == 2
        for claim in ({"client_id": target}, {"client_id": target, "resume_token": "wrong"}):
            async with await ContactClient.connect(gateway, headers=None, **claim) as stranger:
                assert (stranger.established["type"], stranger.established["message"]) == ("error", NO_SUCH_SESSION)
                assert await stranger.closed() == 4003


async def test_everything_is_still_there_after_a_kill(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await ContactClient.connect(gateway) as client:
        await client.chat("这个产品能做什么？")
        await client.request("请联系我")
        credentials = client.credentials
        await asyncio.to_thread(gateway.restart)
    async with await ContactClient.connect(gateway, last_seq=0, **credentials) as client:
        frames = [await client.recv() for _ in range(4)]
        assert types(frames) == ["resumed", "chat_message", "chat_message", "chat_message"]
        assert [frame["seq"] for frame in frames[1:]] == [1, 2, 3]


async def test_what_a_visitor_says_is_acted_on_in_order_and_what_he_leaves_is_answered_first(
    modelled: GatewayProcess,
) -> None:
    async with await ContactClient.connect(modelled) as other, await ContactClient.connect(modelled) as client:
        await client.send({"type": "chat_message", "message": "asked in the first session"})
        await client.resume(0, **other.credentials)
        await client.send({"type": "chat_message", "message": "asked in the second"})
        await client.send({"type": "ping"})
        frames = [await client.recv() for _ in range(6)]
        kinds = types(frames)
        assert kinds.index("pong") < kinds.index("chat_message"), "a ping waits for nothing"
        assert [kind for kind in kinds if kind != "pong"] == [
            "chat_message_received", "chat_message", "resumed", "chat_message_received", "chat_message",
        ]  # fmt: skip
        assert frames[kinds.index("resumed")]["client_id"] == other.established["client_id"]
        assert [frame.get("seq") for frame in frames[-2:]] == [1, 2]
        assert types([await other.recv()]) == ["chat_message"]


async def test_a_resume_in_its_own_session_does_not_wait_for_an_answer(modelled: GatewayProcess) -> None:
    async with await ContactClient.connect(modelled) as client:
        await client.send({"type": "chat_message", "message": "slow"})
        await client.resume(0)
        frames = [await client.recv() for _ in range(4)]
        assert [(frame["type"], frame.get("sender")) for frame in frames] == [
            ("chat_message_received", None), ("resumed", None), ("chat_message", "user"), ("chat_message", "assistant"),
        ]  # fmt: skip


async def test_a_resume_that_cannot_be_is_told_and_the_session_stays(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.send({"type": "chat_message", "message": "这个产品能做什么？"})
        await client.resume(0, resume_token="wrong")
        await client.send({"type": "chat_message", "message": "这个产品能做什么？"})
        frames = [await client.recv() for _ in range(5)]
        assert sorted(types(frames)) == ["chat_message"] * 2 + ["chat_message_received"] * 2 + ["error"]


@pytest.mark.parametrize("last_seq", ["abc", "-1", "1.5", "٣", "9" * 30])
async def test_a_query_that_asks_for_what_is_no_number_is_told_so(gateway: GatewayProcess, last_seq: str) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.chat("这个产品能做什么？")
        credentials = client.credentials
    async with await ContactClient.connect(gateway, last_seq=last_seq, **credentials) as client:
        assert client.credentials == credentials
        error = await client.recv()
        assert (error["type"], error["message"]) == ("error", "字段格式错误: last_seq")
        assert await client.recv_after_ping() == [], "nothing is replayed"
        assert len(await client.chat("这个产品能做什么？")) == 2
