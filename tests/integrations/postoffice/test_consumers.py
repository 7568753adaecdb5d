"""The hub on a real server: letters, mailboxes, names, receipts and the bot."""

import asyncio
import json

import pytest

from tests.conftest import GatewayFactory
from tests.integrations.postoffice.conftest import Name
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.postoffice import HubClient, refusal
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

PLAIN = "text/plain; charset=utf-8"


# --- Letters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/postoffice/ws", "/websocket/", "/websocket/postoffice/ws"])
async def test_a_letter_goes_from_client_to_client_word_for_word(
    gateway: GatewayProcess, name: Name, path: str
) -> None:
    me, you = name("用户"), name("/service/zhycit/weather")
    async with (
        await HubClient.connect(gateway, me, path=path) as sender,
        await HubClient.connect(gateway, you) as reader,
    ):
        await sender.send(f'{{"to": "{you}", "n": 12345678901234567890.10, "from": "evil", "x": {{"a" : 1}}}}')
        assert await reader.recv_text() == f'{{"to":"{you}","n":12345678901234567890.10,"from":"{me}","x":{{"a" : 1}}}}'
        assert await sender.until_silent() == []


async def test_to_and_cc_reach_everybody_once(gateway: GatewayProcess, name: Name) -> None:
    clients = [await HubClient.connect(gateway, name(stem)) for stem in ("a", "b", "c")]
    everybody = [client.id for client in clients]
    await clients[0].write(everybody, "hi", cc=[*everybody, everybody[0]])
    for client in clients:
        assert (await client.recv())["content"] == "hi"
        assert await client.until_silent() == []
        await client.close()


async def test_the_client_id_may_come_in_a_header(gateway: GatewayProcess, name: Name) -> None:
    me = name("header")
    async with (
        await HubClient.connect(gateway, headers={"Client-ID": me}) as client,
        await HubClient.connect(gateway, name("other")) as other,
    ):
        await other.write(me, "hi")
        assert (await client.recv())["from"] == other.id


async def test_what_is_no_letter_is_dropped_in_silence_and_never_closes(gateway: GatewayProcess, name: Name) -> None:
    async with await HubClient.connect(gateway, name("echo")) as client:
        for _ in range(20):
            await client.send("AI生成的回复")
        await client.send(b"\x00\x01")
        for letter in ("[]", '{"a":1,"a":2}', '{"to":5}', "{}", '{"to":"nobody at all","content":1}'):
            await client.send(letter)
        assert await client.until_silent() == []


async def test_a_frame_over_the_limit_closes(gateway: GatewayProcess, name: Name) -> None:
    client = await HubClient.connect(gateway, name("big"))
    await client.send(json.dumps({"to": client.id, "content": "x" * 1024 * 1024}))
    assert await client.closed() == 1009


async def test_a_large_letter_full_of_numbers_gets_through(gateway: GatewayProcess, name: Name) -> None:
    async with await HubClient.connect(gateway, name("data")) as client:
        numbers = [number / 7 for number in range(40_000)]
        await client.write(client.id, numbers)
        assert (await client.recv())["content"] == numbers


async def test_heartbeats_reach_who_is_connected_and_are_not_kept(gateway: GatewayProcess, name: Name) -> None:
    away = name("away")
    await (await HubClient.connect(gateway, away)).close()
    async with (
        await HubClient.connect(gateway, name("a"), receipts=1) as sender,
        await HubClient.connect(gateway, name("b")) as reader,
    ):
        await sender.write([reader.id, away, "server"], "", type="heartbeat")
        assert (await reader.recv())["type"] == "heartbeat"
        receipt = await sender.recv()
        assert receipt["content"]["recipients"] == {reader.id: "delivered", away: "rejected", "server": "delivered"}
    async with await HubClient.connect(gateway, away) as client:
        assert await client.until_silent() == []


# --- Mailboxes ---------------------------------------------------------------------------------


async def test_letters_for_a_client_that_is_away_wait_in_order_and_come_once(
    gateway: GatewayProcess, name: Name
) -> None:
    reader = name("reader")
    await (await HubClient.connect(gateway, reader)).close()
    async with await HubClient.connect(gateway, name("sender"), receipts=1) as sender:
        for number in range(30):
            await sender.write(reader, number)
        receipts = [await sender.recv() for _ in range(30)]
        assert {receipt["subject"] for receipt in receipts} == {"queued"}
    async with await HubClient.connect(gateway, reader) as client:
        assert [(await client.recv())["content"] for _ in range(30)] == list(range(30))
        await (await client.socket.ping())  # answered after the gateway's own, which tells it that they were read
    async with await HubClient.connect(gateway, reader) as client:
        assert await client.until_silent() == []


async def test_a_burst_reaches_a_connected_client_whole_and_in_order(gateway: GatewayProcess, name: Name) -> None:
    async with (
        await HubClient.connect(gateway, name("sender")) as sender,
        await HubClient.connect(gateway, name("reader")) as reader,
    ):

        async def send() -> None:
            for number in range(2000):
                await sender.write(reader.id, number)

        sending = asyncio.create_task(send())
        assert [(await reader.recv(60))["content"] for _ in range(2000)] == list(range(2000))
        await sending
        assert await reader.until_silent() == []


async def test_a_mailbox_outlives_a_kill_and_is_bounded(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    await (await HubClient.connect(gateway, "reader")).close()
    sender = await HubClient.connect(gateway, "sender", receipts=1)

    async def send() -> None:
        for number in range(1002):
            await sender.write("reader", number)

    sending = asyncio.create_task(send())
    receipts = [await sender.recv(60) for _ in range(1002)]
    await sending
    assert [receipt["subject"] for receipt in receipts] == ["queued"] * 1000 + ["rejected"] * 2
    await asyncio.to_thread(gateway.restart)
    await sender.closed()
    async with await HubClient.connect(gateway, "reader") as reader:
        assert [(await reader.recv(60))["content"] for _ in range(1000)] == list(range(1000))
    async with await HubClient.connect(gateway, "reader") as reader:
        assert await reader.until_silent() == []


async def test_letters_on_their_way_when_a_connection_breaks_come_again(gateway: GatewayProcess, name: Name) -> None:
    reader = await HubClient.connect(gateway, name("reader"))
    async with await HubClient.connect(gateway, name("sender"), receipts=1) as sender:
        text = "x" * 100_000
        for number in range(60):
            await sender.write(reader.id, text, number=number)
        for _ in range(60):
            await sender.recv()
    got = [(await reader.recv())["number"] for _ in range(10)]
    reader.drop()
    async with await HubClient.connect(gateway, reader.id) as again:
        rest = [letter["number"] for letter in await again.until(lambda letter: letter["number"] == 59)]
    assert rest == list(range(rest[0], 60))
    assert rest[0] <= got[-1] + 17  # the client's library keeps some that it had acknowledged


@pytest.mark.usefixtures("postgres", "valkey")
async def test_letters_and_names_go_between_workers(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    readers = [await HubClient.connect(gateway, f"reader {number}", startTime=1) for number in range(6)]
    senders = [await HubClient.connect(gateway, f"sender {number}", receipts=1) for number in range(6)]
    for sender in senders:
        for number in range(50):
            await sender.write([reader.id for reader in readers], number)
    for reader in readers:
        letters = [await reader.recv(30) for _ in range(300)]
        for sender in senders:
            mine = [letter["content"] for letter in letters if letter["from"] == sender.id]
            assert mine == list(range(50))
    for sender in senders:
        assert {(await sender.recv())["subject"] for _ in range(50)} == {"delivered"}
    for reader in readers:
        assert (await refusal(gateway, reader.id, startTime=1))[0] == 409
        newer = await HubClient.connect(gateway, reader.id)
        assert await reader.closed() == 4009
        await newer.close()
    for sender in senders:
        await sender.close()


async def test_a_mailbox_is_bounded_in_bytes(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAILBOX_BYTES": "100000", "MAILBOX_LETTERS": "4"})
    await (await HubClient.connect(gateway, "long")).close()
    await (await HubClient.connect(gateway, "many")).close()
    async with await HubClient.connect(gateway, "sender", receipts=1) as sender:
        for recipient, text in (("long", "天" * 10_000), ("many", "x")):
            for _ in range(5):
                await sender.write(recipient, text)
        subjects = [(await sender.recv())["subject"] for _ in range(10)]
    assert subjects == ["queued"] * 3 + ["rejected"] * 2 + ["queued"] * 4 + ["rejected"]


# --- Names -------------------------------------------------------------------------------------


async def test_refusals_come_before_the_upgrade(gateway: GatewayProcess, name: Name) -> None:
    assert await refusal(gateway) == (400, PLAIN, "Client ID is required")
    assert (await refusal(gateway, "x" * 301))[0] == 400
    assert (await refusal(gateway, "a\0b"))[0] == 400
    for reserved in ("AI_CHATBOT", "server", "AI_CHATBOT/1", f"/pipeline/{DEFAULT_PIPELINE}"):
        assert await refusal(gateway, reserved) == (401, PLAIN, "Unauthorized")
    evil = {"Origin": "https://evil.example"}
    assert (await refusal(gateway, name("x"), headers=evil))[0] == 403
    assert (await refusal(gateway, name("x"), path="/postoffice"))[0] == 404


async def test_a_newer_connection_replaces_and_an_older_is_refused(gateway: GatewayProcess, name: Name) -> None:
    me = name("double")
    first = await HubClient.connect(gateway, me, startTime=100)
    for older in (100, 99):
        refused = await refusal(gateway, me, startTime=older)
        assert refused == (409, PLAIN, "Connection rejected: newer connection exists")
    second = await HubClient.connect(gateway, me, startTime=101)
    assert await first.closed() == 4009
    third = await HubClient.connect(gateway, me)
    assert await second.closed() == 4009
    assert await third.until_silent() == []
    await third.close()


async def test_a_dropped_connection_does_not_block_its_own_reconnect(gateway: GatewayProcess, name: Name) -> None:
    me = name("dropped")
    for _ in range(5):
        (await HubClient.connect(gateway, me, startTime=7)).drop()
    # One whose network is gone: it is open, and answers nothing.
    silent = await HubClient.connect(gateway, me, startTime=7)
    silent.socket.transport.pause_reading()
    async with await HubClient.connect(gateway, me, startTime=7) as client:
        assert await client.until_silent() == []
    silent.drop()


async def test_a_killed_gateway_leaves_no_name_behind(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    before = await HubClient.connect(gateway, "me", startTime=7)
    await asyncio.to_thread(gateway.restart)
    assert await before.closed() == 1006
    async with await HubClient.connect(gateway, "me", startTime=7) as client:
        assert await client.until_silent() == []


async def test_known_names_are_bounded(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"MAX_HUB_CLIENTS": "2"})
    for known in ("a", "b", "a"):
        await (await HubClient.connect(gateway, known)).close()
    assert await refusal(gateway, "c") == (503, PLAIN, "Connection limit reached")


async def test_a_server_that_stops_closes_with_1012(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    client = await HubClient.connect(gateway, "me")
    await asyncio.to_thread(gateway.terminate)
    assert await client.closed() == 1012


async def test_it_works_on_daphne(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(server="daphne")
    first = await HubClient.connect(gateway, "用户", startTime=7)
    sender = await HubClient.connect(gateway, "/a/b", receipts=1)
    await sender.write("用户", "hi")
    assert (await first.recv())["content"] == "hi"
    assert (await sender.recv())["subject"] == "delivered"
    assert (await refusal(gateway, "用户", startTime=7))[0] == 403  # it cannot send a body
    await first.close()
    await sender.write("用户", "later")
    again = await HubClient.connect(gateway, "用户", startTime=7)
    assert (await again.recv())["content"] == "later"
    await sender.write("AI_CHATBOT", "What can you do?")
    assert "delivered" in [letter["subject"] for letter in await sender.until(lambda one: one["type"] == "msg")]
    await again.close()
    await sender.close()


# --- Receipts ----------------------------------------------------------------------------------


async def test_receipts_tell_what_became_of_every_frame(gateway: GatewayProcess, name: Name) -> None:
    away = name("away")
    await (await HubClient.connect(gateway, away)).close()
    async with await HubClient.connect(gateway, name("me"), receipts=1) as client:

        async def receipt() -> tuple[str, object, object]:
            frame = await client.recv()
            assert (frame["type"], frame["from"], frame["to"]) == ("receipt", "server", client.id)
            return frame["subject"], frame["content"].get("recipients"), frame["inReplyTo"]

        await client.write(away, "x", inReplyTo="m1")
        assert await receipt() == ("queued", {away: "queued"}, "m1")
        await client.write([away, "nobody"], "x", id=7)
        assert await receipt() == ("rejected", {away: "queued", "nobody": "rejected"}, 7)
        await client.send("no JSON")
        assert await receipt() == ("rejected", {}, None)
        await client.send('{"subjectId": 5}')
        assert await receipt() == ("rejected", {}, None)
        await client.send('{"to": "/pipeline/00000000-0000-4000-8000-0000000000ff", "content": "x"}')
        assert (await receipt())[0] == "rejected"
        await client.send('{"to": "server", "content": " "}')
        assert (await receipt())[0] == "rejected"


@pytest.mark.parametrize("address", ["AI_CHATBOT/123", "AI_CHATBOT/", f"AI_CHATBOT/{'a' * 32}.9999999999.x"])
async def test_a_reply_to_an_address_that_nobody_gave_out_is_rejected(
    gateway: GatewayProcess, name: Name, address: str
) -> None:
    async with await HubClient.connect(gateway, name("liar"), receipts=1) as client:
        await client.write(address, "x")
        receipt = await client.recv()
        assert (receipt["subject"], receipt["content"]["recipients"]) == ("rejected", {address: "rejected"})


async def test_what_came_to_nothing_is_one_line_of_the_log_when_the_connection_ends(
    start_gateway: GatewayFactory,
) -> None:
    gateway = start_gateway(environment={"LOG_FORMAT": "json"})
    await (await HubClient.connect(gateway, "away")).close()
    async with await HubClient.connect(gateway, "me") as client:
        for letter in ("canary", '{"subjectId": 5}', '{"to": 5}', '{"to": ["nobody", "AI_CHATBOT/1"]}'):
            await client.send(letter)
        await client.write(["nobody", "away"], "canary", type="heartbeat")
        await client.write(["server", "away"], " ")
        assert await client.until_silent() == []

    async def told() -> bool:
        return "postoffice.letters_dropped" in gateway.log()

    await eventually(told, timeout=10, what="the line")
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    (dropped,) = (line for line in lines if line["event"] == "postoffice.letters_dropped")
    assert dropped["connection_id"]
    assert dropped["count"] == 8
    reasons = {"no letter": 1, "no recipient": 1, "refused": 1, "unknown": 2, "foreign": 1, "away": 1, "WireError": 1}
    assert dropped["reasons"] == reasons
    (not_taken,) = (line for line in lines if line["event"] == "postoffice.not_taken")
    assert (not_taken["error"], not_taken["reason"]) == ("WireError", "content is required")
    assert "canary" not in gateway.log()


# --- The bot -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bot", ["AI_CHATBOT", "server", f"/pipeline/{DEFAULT_PIPELINE}"])
async def test_the_bot_answers_from_the_address_that_was_asked(gateway: GatewayProcess, name: Name, bot: str) -> None:
    async with await HubClient.connect(gateway, name("用户")) as client:
        big = 10**30
        await client.write(bot, "What can you do?", subject="help", inReplyTo="q-1", subjectId=big)
        answer = await client.recv()
        assert (answer["from"], answer["to"], answer["type"]) == (bot, client.id, "msg")
        assert (answer["subject"], answer["inReplyTo"], answer["subjectId"]) == ("help", "q-1", big)
        assert isinstance(answer["createTime"], int)
        assert "answer questions" in answer["content"]
        assert await client.until_silent() == []


async def test_an_answer_waits_for_who_left(gateway: GatewayProcess, name: Name) -> None:
    me = name("leaver")
    async with await HubClient.connect(gateway, me, receipts=1) as client:
        await client.write("AI_CHATBOT", {"question": "What can you do?"})
        assert (await client.recv())["subject"] in {"delivered", "s"}
    async with await HubClient.connect(gateway, me) as client:
        assert (await client.recv())["from"] == "AI_CHATBOT"


async def test_heartbeats_logs_and_registrations_ask_nothing(gateway: GatewayProcess, name: Name) -> None:
    async with await HubClient.connect(gateway, name("quiet")) as client:
        for kind in ("heartbeat", "log", "register"):
            await client.write("server", "What can you do?", type=kind)
        assert await client.until_silent() == []
        await client.write("server", "What can you do?", type="")
        assert (await client.recv())["from"] == "server"


async def test_too_many_questions_close_with_4129(gateway: GatewayProcess, name: Name) -> None:
    client = await HubClient.connect(gateway, name("loop"))
    for number in range(140):
        await client.write("AI_CHATBOT", f"{number}?")
    assert await client.closed(60) == 4129


async def test_of_connections_at_once_under_one_name_one_stays(gateway: GatewayProcess, name: Name) -> None:
    one = name("twin")
    twins = await asyncio.gather(*(HubClient.connect(gateway, one) for _ in range(6)))
    waiting = {asyncio.create_task(twin.closed(60)) for twin in twins}
    while len(waiting) > 1:
        ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in ended} == {4009}
    (last,) = waiting
    last.cancel()
    for twin in twins:
        await twin.close()
