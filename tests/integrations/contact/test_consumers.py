"""The contact wire's socket, spoken to by a foreign client on a real server."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations import phrases
from integrations.limiting import TURNS_OF_ADDRESS
from tests.conftest import GatewayFactory
from tests.faults.model import Mode, model_in_thread
from tests.integrations.contact.conftest import Owner, query
from tests.support.clients import is_type
from tests.support.contact import ContactClient
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess, ServerKind

FAILED = "抱歉，我暂时无法处理您的请求，请稍后再试。"


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [str(frame["type"]) for frame in frames]


# --- As the document says ----------------------------------------------------------------------


async def test_the_greeting(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        assert set(client.established) == {"type", "message", "client_id", "timestamp", "resume_token"}
        assert client.established["type"] == "connection_established"
        assert client.established["message"] == "WebSocket连接已建立"
        assert client.established["timestamp"].endswith("+00:00")
        assert str(UUID(client.established["client_id"])) == client.established["client_id"]


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_the_documents_conversation(start_gateway: GatewayFactory, server: ServerKind) -> None:
    gateway = start_gateway(server=server)
    async with await ContactClient.connect(gateway) as client:
        received = await client.request("你好，我想咨询技术问题")
        assert set(received) == {"type", "message", "request_id", "timestamp", "status"}
        assert received["type"] == "contact_request_received"
        assert received["message"] == "联系请求已收到，博主将尽快回复您"
        assert received["status"] == "received"
        assert str(UUID(received["request_id"])) == received["request_id"]
        for question in ("你好，这个产品能做什么？", "如何部署到生产环境？"):
            acknowledged, answer = await client.chat(question)
            assert set(acknowledged) == {"type", "message", "message_id", "timestamp"}
            assert (acknowledged["type"], acknowledged["message"]) == ("chat_message_received", "消息已收到")
            assert str(UUID(acknowledged["message_id"])) == acknowledged["message_id"]
            assert set(answer) == {"type", "message", "sender", "timestamp"}
            assert answer["sender"] == "assistant"
            assert answer["message"]
        await client.send({"type": "ping"})
        pong = await client.recv()
        assert (set(pong), pong["type"]) == ({"type", "timestamp"}, "pong")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"type": "X"}, "未知的消息类型: X"),
        ("nonsense", "消息格式错误，必须是有效的JSON"),
        ({"type": "chat_message", "timestamp": "now"}, "缺少必需字段: message"),
        ({"type": "contact_request", "message": ""}, "缺少必需字段: message"),
        ({"type": "contact_request", "message": "x", "userAgent": 5}, "字段格式错误: userAgent"),
        ({"type": "chat_message", "message": "长" * 1001}, "内容过长: message 最多1000个字符"),
        ({"type": "contact_request", "message": "长" * 5001}, "内容过长: message 最多5000个字符"),
    ],
)
async def test_a_bad_frame_gets_an_error_and_the_socket_stays(
    gateway: GatewayProcess, frame: Any, message: str
) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.send(frame)
        error = await client.recv()
        assert (set(error), error["type"], error["message"]) == ({"type", "message", "timestamp"}, "error", message)
        assert await client.recv_after_ping() == []


async def test_ten_bad_frames_close_with_1008(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        for _ in range(10):
            await client.send({"type": "X"})
        assert await client.closed() == 1008


async def test_a_frame_over_64_kib_closes_with_1009(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.send({"type": "chat_message", "message": "x" * 65 * 1024})
        assert await client.closed() == 1009


async def test_the_wire_answers_below_websocket_too(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(f"{gateway.ws_url}/websocket") as client:
        assert client.established["type"] == "connection_established"


async def test_what_was_said_is_stored_with_the_clients_clock_as_its_claim(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        word = uuid4().hex
        await client.chat(word, timestamp="yesterday")
        ((components,),) = query(gateway, "SELECT components FROM conversations_message WHERE text = ?", word)
        assert '"timestamp":"yesterday"' in components


# --- Answers -----------------------------------------------------------------------------------


async def test_increments_add_up_to_the_answer(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway, stream=1) as client:
        acknowledged, *deltas, answer = await client.chat("这个产品能做什么？")
        assert set(types(deltas)) == {"chat_delta"}
        assert "".join(frame["delta"] for frame in deltas) == answer["message"]
        ids = {frame["message_id"] for frame in (acknowledged, *deltas, answer)}
        assert len(ids) == 1


async def test_a_ping_is_answered_while_an_answer_is_made(start_gateway: GatewayFactory) -> None:
    with model_in_thread(Mode.SLOW) as model:
        gateway = start_gateway(model=model.base_url())
        async with await ContactClient.connect(gateway, stream=1) as client:
            await client.send({"type": "chat_message", "message": "say something"})
            await client.until(is_type("chat_delta"))
            assert "chat_message" not in types(await client.recv_after_ping())
            rest = await client.until(is_type("chat_message"))
            assert rest[-1]["message"] == "".join(model.words).strip() or rest[-1]["message"] == "".join(model.words)


async def test_a_failed_answer_is_told_in_the_wires_words(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(start=False)
    query(gateway, "DELETE FROM conversations_route")
    gateway.start()
    async with await ContactClient.connect(gateway) as client:
        answer = (await client.chat("What can you do?"))[-1]
        assert (answer["message"], answer["sender"]) == (FAILED, "assistant")


async def test_another_socket_of_the_visitor_hears_the_answers_too(gateway: GatewayProcess) -> None:
    async with (
        await ContactClient.connect(gateway) as first,
        await ContactClient.connect(gateway, **first.credentials) as second,
        await ContactClient.connect(gateway) as stranger,
    ):
        assert second.credentials == first.credentials
        answer = (await first.chat("这个产品能做什么？"))[-1]
        assert await second.recv() == answer
        assert await second.recv_after_ping() == await stranger.recv_after_ping() == []


async def test_many_questions_at_once_are_all_answered_in_order(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        await client.resume(0)
        assert (await client.recv())["type"] == "resumed"
        for number in range(20):
            await client.send({"type": "chat_message", "message": f"question {number}"})
        frames: list[dict[str, Any]] = []
        while types(frames).count("chat_message") < 20:
            frames.append(await client.recv())
        asked = [frame["message_id"] for frame in frames if frame["type"] == "chat_message_received"]
        assert asked == [frame["message_id"] for frame in frames if frame["type"] == "chat_message"]
        assert [frame["seq"] for frame in frames] == list(range(1, 41))


# --- The owner ---------------------------------------------------------------------------------


async def test_the_owner_replies_live_and_at_the_next_resume(gateway: GatewayProcess, owner: Owner) -> None:
    async with await ContactClient.connect(gateway) as client:
        request = (await client.request("请联系我"))["request_id"]
        await asyncio.to_thread(owner.reply, request, "您好，我是博主")
        words = await client.recv()
        assert (words["type"], words["sender"], words["message"]) == ("chat_message", "owner", "您好，我是博主")
        assert query(gateway, "SELECT state FROM conversations_contactrequest WHERE uuid = ?", UUID(request).hex) == [
            ("replied",)
        ]
        credentials = client.credentials
    await asyncio.to_thread(owner.reply, request, "您还在吗？")
    async with await ContactClient.connect(gateway, last_seq=2, **credentials) as client:
        resumed, words = await client.recv(), await client.recv()
        assert (resumed["last_seq"], words["sender"], words["message"], words["seq"]) == (3, "owner", "您还在吗？", 3)


async def test_the_owners_words_reach_every_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    staff = await asyncio.to_thread(Owner, gateway)
    clients = [await ContactClient.connect(gateway)]
    clients += [await ContactClient.connect(gateway, **clients[0].credentials) for _ in range(9)]
    workers = query(gateway, "SELECT DISTINCT worker FROM connections_connection WHERE ended_at IS NULL")
    assert len(workers) == 2, "both workers have sockets"
    request = (await clients[0].request("请联系我"))["request_id"]
    await asyncio.to_thread(staff.reply, request, "您好")
    staff.close()
    for client in clients:
        words = await client.recv()
        assert (words["sender"], words["message"]) == ("owner", "您好")
        await client.socket.close()


async def test_a_chat_message_that_asks_for_the_owner_opens_a_request_too(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        frames = await client.chat("能不能转人工？")
        assert types(frames) == ["chat_message_received", "contact_request_received", "chat_message"]
        assert frames[2]["message"] == phrases.CALLED["zh-hans"]
        ((escalated, state),) = query(
            gateway,
            "SELECT escalated, state FROM conversations_contactrequest WHERE uuid = ?",
            UUID(frames[1]["request_id"]).hex,
        )
        # Nobody is configured to be told, so it stays as it was received.
        assert (escalated, state) == (1, "received")
        assert types(await client.chat("人工智能是什么")) == ["chat_message_received", "chat_message"]
        await client.resume(4)
        assert [frame.get("seq") for frame in await client.chat("转人工")] == [None, 5, 5, 6]


async def test_staff_tells_everybody(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as first, await ContactClient.connect(gateway) as second:
        for message in ("今晚维护", {"maintenance": True}):
            assert (await acall(gateway, "POST", below("broadcast"), {"message": message}))[0] == 200
            for client in (first, second):
                frame = await client.recv()
                assert set(frame) == {"type", "message", "timestamp"}
                assert (frame["type"], frame["message"]) == ("broadcast", message)


# --- Limits ------------------------------------------------------------------------------------


async def test_a_visitor_calls_for_the_owner_five_times_an_hour(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        for _ in range(5):
            assert (await client.request("请联系我"))["type"] == "contact_request_received"
        error = await client.request("请联系我")
        assert error["type"] == "error"
        assert 3500 < error["retry_after"] <= 3600
        assert str(error["retry_after"]) in error["message"]
        # He is answered all the same; only the owner is not called again.
        assert types(await client.chat("转人工")) == ["chat_message_received", "chat_message"]
        # Coming back does not help.
        async with await ContactClient.connect(gateway, **client.credentials) as again:
            assert (await again.request("请联系我"))["type"] == "error"


async def test_an_address_calls_for_the_owner_sixty_times_an_hour(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    for _ in range(12):
        async with await ContactClient.connect(gateway) as client:
            for _ in range(5):
                assert (await client.request("请联系我"))["type"] == "contact_request_received"
    async with await ContactClient.connect(gateway) as client:
        error = await client.request("请联系我")
        assert (error["type"], error["retry_after"] > 3000) == ("error", True)


async def test_an_address_says_six_hundred_things_a_minute_whoever_it_says_to_be(
    start_gateway: GatewayFactory,
) -> None:
    gateway = start_gateway(start=False)
    query(gateway, "DELETE FROM conversations_route")
    gateway.start()

    async def say_sixty_things() -> None:
        async with await ContactClient.connect(gateway) as client:
            for number in range(60):
                await client.send({"type": "chat_message", "message": f"word {number}"})
            heard = 0  # acknowledged, or refused because so many wait for an answer
            while heard < 60:
                heard += (await client.recv())["type"] in {"chat_message_received", "error"}

    await asyncio.gather(*(say_sixty_things() for _ in range(TURNS_OF_ADDRESS.amount // 60)))
    async with await ContactClient.connect(gateway) as client:
        await client.send({"type": "chat_message", "message": "one more"})
        error = await client.recv()
        assert (error["type"], 0 < error["retry_after"] <= 60) == ("error", True)


async def test_a_visitor_says_sixty_things_a_minute_and_is_closed_where_he_goes_on(gateway: GatewayProcess) -> None:
    async with await ContactClient.connect(gateway) as client:
        for number in range(60):
            await client.chat(f"question {number}")
        for _ in range(10):
            await client.send({"type": "chat_message", "message": "one more"})
        errors = [await client.recv() for _ in range(10)]
        assert all(0 < error["retry_after"] <= 60 for error in errors)
        assert await client.closed() == 4129
