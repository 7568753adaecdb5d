"""What the web chat asks for beside the wire's own: HTML, outcomes, its own ids, a person, opinions, new beginnings."""

from typing import Any
from uuid import uuid4

import pytest

from conversations.phrases import CALLED
from tests.integrations.langbot.conftest import SHOP, TokenMaker
from tests.support.applications import change
from tests.support.clients import PipelineClient, answer, is_final, is_type
from tests.support.metrics import scrape
from tests.support.rest import acall, below, history
from tests.support.server import GatewayProcess

QUESTION = "How do I load documents?"
MORE = {"html", "outcome", "client_msg_id", "feedback", "called"}


def data_of(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame["data"] for frame in frames]


# --- What is told --------------------------------------------------------------------------------


async def test_who_did_not_ask_for_more_is_told_nothing_of_it(gateway: GatewayProcess) -> None:
    queries: list[dict[str, Any]] = [{}, {"rich": "0"}, {"rich": "yes"}]
    for query in queries:
        async with await PipelineClient.connect(gateway, **query) as client:
            assert "language" not in client.connected
            frames = await client.ask(QUESTION, client_msg_id="m-1")
            assert not [data for data in data_of(frames) if MORE & data.keys()]
            rows = history(gateway, query=f"?session_id={client.session_id}")
            assert not [row for row in rows if MORE & row.keys()]


async def test_an_answer_comes_with_its_html_and_how_it_ended(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        said, *grown = await client.ask(QUESTION, client_msg_id="m-1")
        assert said["data"]["client_msg_id"] == "m-1"
        assert "html" not in said["data"]
        final = grown[-1]["data"]
        assert final["outcome"] == "answered"
        assert "<p>" in final["html"]
        assert "<code" in final["html"], "an example of a command"
        assert "`" not in final["html"]
        assert "outcome" not in grown[0]["data"] or len(grown) == 1
        rows = history(gateway, query=f"?session_id={client.session_id}&rich=1")
        assert rows == [said["data"], final]


async def test_an_answer_that_grows_is_html_at_every_moment(gateway: GatewayProcess) -> None:
    async with (
        await PipelineClient.connect(gateway, rich=1) as client,
        await PipelineClient.connect(
            gateway, rich=1, session_id=client.session_id, resume_token=client.resume_token
        ) as second,
    ):
        frames = await client.ask(QUESTION)
        deltas = [data for data in data_of(frames[1:]) if not data["is_final"]]
        assert all(data["html"].startswith("<") and data["html"].rstrip().endswith(">") for data in deltas)
        assert await second.until(is_final) == frames, "encoded once, told to both"


async def test_what_the_citations_say_is_not_said_twice(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        own: dict[str, Any] = {"session_id": client.session_id, "resume_token": client.resume_token}
        async with await PipelineClient.connect(gateway, **own) as plain:
            said, *grown = data_of(await client.ask(QUESTION))
            final = grown[-1]
            assert f"\n\nSource: {final['citations'][0]['title']}" in final["content"]
            assert [data["html"] for data in grown if "Source: " in data["html"]] == [], "at no moment"
            told = data_of(await plain.until(is_final))[-1]
            assert (told["content"], told["message_chain"]) == (final["content"], final["message_chain"])
        assert history(gateway, query=f"?session_id={client.session_id}&rich=1") == [said, final]


async def test_what_a_visitor_writes_is_never_html(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        await client.say("<b>**hello**</b>")
        said = await client.recv()
        assert said["data"]["content"] == "<b>**hello**</b>"
        assert "html" not in said["data"]
        await client.until(is_final)


async def test_an_honest_i_do_not_know_is_told_apart(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        assert (await client.ask("今天北京天气怎么样？"))[-1]["data"]["outcome"] == "unknown"


async def test_a_resume_tells_the_same_again(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        frames = await client.ask(QUESTION, client_msg_id="m-1")
    back: dict[str, Any] = {"session_id": client.session_id, "resume_token": client.resume_token, "last_seq": 0}
    async with await PipelineClient.connect(gateway, rich=1, **back) as client:
        resumed, *again = await client.until(is_final)
        assert resumed["resumed"] is True
        assert again == [frames[0], frames[-1]]


@pytest.mark.parametrize(
    ("query", "accepts", "language"),
    [
        ({}, "", "zh-hans"),
        ({}, "en-GB,en;q=0.9", "en"),
        ({}, "fr,zh-TW;q=0.8", "zh-hans"),
        ({"lang": "en"}, "zh-CN", "en"),
        ({"lang": "zh-CN"}, "en", "zh-hans"),
        ({"lang": "tlh"}, "en", "zh-hans"),
        ({"lang": "\x00" + "x" * 3000}, "", "zh-hans"),
    ],
)
async def test_the_greeting_says_in_which_language(
    gateway: GatewayProcess, query: dict[str, Any], accepts: str, language: str
) -> None:
    headers = {"Accept-Language": accepts} if accepts else {}
    async with await PipelineClient.connect(gateway, rich=1, headers=headers, **query) as client:
        assert client.connected["language"] == language


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"rich": 1, "lang": "zh-hans"}, "该消息ID已用于其他消息"),
        ({"rich": 1, "lang": "en"}, "client_msg_id was already used for another message"),
        ({"lang": "zh-hans"}, "client_msg_id was already used for another message"),
    ],
)
async def test_what_is_refused_is_said_in_the_pages_language(
    gateway: GatewayProcess, query: dict[str, Any], words: str
) -> None:
    async with await PipelineClient.connect(gateway, **query) as client:
        await client.ask(QUESTION, client_msg_id="m-1")
        await client.say("Something else", client_msg_id="m-1")
        (refusal,) = await client.until(is_type("error"))
        assert refusal["message"] == words


async def test_a_room_s_answer_and_its_html_begin_with_whom_it_is_for(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, "group", rich=1, session_id=str(uuid4())) as client:
        final = (await client.ask(f"ai {QUESTION}"))[-1]["data"]
        assert final["content"].startswith("@websocket_")
        assert final["html"].startswith("<p>@websocket_")
        assert "Source: " in final["content"]
        assert "Source: " not in final["html"]


async def test_history_with_more_needs_a_session(gateway: GatewayProcess) -> None:
    status, refused = await acall(gateway, "GET", below("messages/person?rich=1"))
    assert (status, refused["msg"]) == (400, "rich needs session_id")
    status, refused = await acall(gateway, "GET", below(f"messages/person?session_id={uuid4()}&rich=2"))
    assert status == 400
    assert refused["msg"].startswith("rich: ")


# --- A person ------------------------------------------------------------------------------------


def requests_of(gateway: GatewayProcess, session: str) -> list[tuple[str, int]]:
    """Return of each contact request of a session what was said, and whether it came by words."""
    return change(
        gateway,
        "SELECT m.text, r.escalated FROM conversations_contactrequest r"
        " JOIN conversations_message m ON m.id = r.message_id JOIN conversations_chatsession s ON s.id = m.session_id"
        " WHERE s.uuid = ? ORDER BY r.id",
        session.replace("-", ""),
    )


@pytest.mark.parametrize(("words", "language"), [("Please call me back.", "en"), ("请给我回电话。", "zh-hans")])
async def test_a_message_for_a_person_opens_a_contact_request_and_says_so(
    gateway: GatewayProcess, words: str, language: Any
) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        frames = await client.ask(words, contact=True, client_msg_id="c-1")
        assert [frame["type"] for frame in frames] == ["user_message", "response"]
        assert answer(frames) == CALLED[language]
        assert frames[-1]["data"]["outcome"] == "answered"
        assert [data.get("called") for data in data_of(frames)] == [None, True]
        rows = history(gateway, query=f"?session_id={client.session_id}&rich=1")
        assert rows == data_of(frames), "also after a reload"
        assert requests_of(gateway, client.session_id) == [(words, 0)]
        again = await client.ask(words, contact=True, client_msg_id="c-1")
        assert again == frames, "asked once, though it was said twice"
        assert len(requests_of(gateway, client.session_id)) == 1
        waiting = "SELECT waiting_since FROM conversations_chatsession WHERE uuid = ?"
        assert change(gateway, waiting, client.session_id.replace("-", ""))[0][0] is not None


async def test_words_that_ask_for_a_person_do_the_same_for_the_web_chat_only(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        frames = await client.ask("我要转人工")
        assert answer(frames) == CALLED["zh-hans"]
        assert frames[-1]["data"]["called"] is True
        assert "called" not in (await client.ask(QUESTION))[-1]["data"]
        assert requests_of(gateway, client.session_id) == [("我要转人工", 1)]
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("我要转人工")
        assert requests_of(gateway, client.session_id) == []


async def test_a_message_for_a_person_needs_words(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        await client.say("  ", contact=True)
        assert await client.recv() == {"type": "error", "message": "message must have text where contact is true"}
        await client.say("hello", contact="yes")
        assert await client.recv() == {"type": "error", "message": "contact must be true or false"}


async def test_who_asks_for_a_person_too_often_is_told_when_to_come_again(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        for number in range(5):
            await client.ask(f"Call me, number {number}.", contact=True)
        await client.say("Call me once more.", contact=True)
        refused = await client.recv()
        assert refused["type"] == "error"
        assert refused["retry_after"] > 60
        # What asks for it by words is answered all the same.
        assert is_final((await client.ask("Please let me talk to a human."))[-1])
        assert len(requests_of(gateway, client.session_id)) == 5


async def test_a_person_who_has_the_conversation_is_told_of_already(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        await client.ask(QUESTION)
        hold = "UPDATE conversations_chatsession SET held_since = datetime('now'), held_by = 'Li' WHERE uuid = ?"
        change(gateway, hold, client.session_id.replace("-", ""))
        frames = await client.ask("Are you there?", contact=True)
        assert "A person is looking after your conversation" in answer(frames)
        assert frames[-1]["data"]["outcome"] == "handed"


# --- Opinions ------------------------------------------------------------------------------------


async def test_an_opinion_is_kept_and_the_last_one_counts(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as client:
        said, *_, final = data_of(await client.ask(QUESTION))
        call = below(f"feedback/person?session_id={client.session_id}&resume_token={client.resume_token}")
        for value, shown in (("up", "up"), ("down", "down"), ("down", "down"), (None, None), ("up", "up")):
            status, told = await acall(gateway, "POST", call, {"message_id": final["id"], "value": value})
            assert (status, told) == (200, {"code": 0, "msg": "ok", "data": {"message": "Feedback saved"}})
            rows = history(gateway, query=f"?session_id={client.session_id}&rich=1")
            assert rows[-1].get("feedback") == shown
        counted = scrape(gateway)
        told = [counted[f"chatgateway_feedback_total{{{value}}}"] for value in ("up", "down", "none")]
        assert told == [2, 2, 1], "each time that somebody said so"
        for other in (said["id"], final["id"] + 1000):
            status, told = await acall(gateway, "POST", call, {"message_id": other, "value": "up"})
            assert (status, told["msg"]) == (404, "Message not found")
        for body in (
            {"message_id": final["id"]},
            {"message_id": "x", "value": "up"},
            {"message_id": 1, "value": "fine"},
        ):
            assert (await acall(gateway, "POST", call, body))[0] == 400
        assert (await acall(gateway, "POST", below("feedback/person"), {"message_id": 1, "value": "up"}))[0] == 400


async def test_an_answer_of_somebody_else_looks_like_a_missing_one(public: GatewayProcess) -> None:
    async with (
        await PipelineClient.connect(public, headers=SHOP, rich=1) as mine,
        await PipelineClient.connect(public, headers=SHOP, rich=1) as other,
    ):
        foreign = (await other.ask(QUESTION))[-1]["data"]["id"]
        own = (await mine.ask(QUESTION))[-1]["data"]["id"]
        query = f"session_id={mine.session_id}&resume_token={mine.resume_token}"
        said = {"message_id": foreign, "value": "down"}
        status, told = await acall(public, "POST", below(f"feedback/person?{query}"), said, headers=SHOP)
        assert (status, told["msg"]) == (404, "Message not found")
        said = {"message_id": own, "value": "down"}
        assert (await acall(public, "POST", below(f"feedback/person?{query}"), said, headers=SHOP))[0] == 200
        stranger = f"session_id={mine.session_id}&resume_token={other.resume_token}"
        status, told = await acall(public, "POST", below(f"feedback/person?{stranger}"), said, headers=SHOP)
        assert (status, told["msg"]) == (404, "Session not found")
        for page, expected in (({}, 401), ({"Origin": "https://evil.example"}, 403)):
            assert (await acall(public, "POST", below(f"feedback/person?{query}"), said, headers=page))[0] == expected


async def test_a_token_needs_the_right_to_write(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    reader = {"Authorization": f"Bearer {make_token(scopes='read')}"}
    call = below(f"feedback/person?session_id={uuid4()}")
    assert (await acall(guarded, "POST", call, {"message_id": 1, "value": "up"}, headers=reader))[0] == 403


# --- A new beginning -----------------------------------------------------------------------------


async def test_a_visitor_begins_his_own_session_anew_and_no_other(public: GatewayProcess) -> None:
    async with (
        await PipelineClient.connect(public, headers=SHOP, rich=1) as mine,
        await PipelineClient.connect(public, headers=SHOP, rich=1) as other,
    ):
        await mine.ask(QUESTION)
        await other.ask(QUESTION)
        query = f"session_id={mine.session_id}&resume_token={mine.resume_token}"
        assert (await acall(public, "POST", below(f"reset/person?{query}"), headers=SHOP))[0] == 200
        for client, left in ((mine, 0), (other, 2)):
            own = f"session_id={client.session_id}&resume_token={client.resume_token}"
            _, told = await acall(public, "GET", below(f"messages/person?{own}"), headers=SHOP)
            assert len(told["data"]["messages"]) == left
        stolen = f"session_id={other.session_id}&resume_token={mine.resume_token}"
        assert (await acall(public, "POST", below(f"reset/person?{stolen}"), headers=SHOP))[0] == 404
        assert (await acall(public, "POST", below("reset/person"), headers=SHOP))[0] == 403
        assert (await acall(public, "POST", below(f"reset/person?{query}")))[0] == 401
        assert is_final((await mine.ask(QUESTION))[-1]), "the socket stays"
        trail = change(public, "SELECT actor, subject FROM connections_auditentry WHERE action = 'reset'")
        assert ("the visitor", f"session {mine.session_id}") in trail


async def test_a_page_hears_of_a_new_beginning_and_no_other_client_does(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as page:
        own: dict[str, Any] = {"session_id": page.session_id, "resume_token": page.resume_token}
        query = "&".join(f"{name}={value}" for name, value in own.items())
        async with await PipelineClient.connect(gateway, **own) as other:
            await page.ask(QUESTION)
            await other.until(is_final)
            for which in (f"reset/person?{query}", "reset/person"):  # his session, and everybody's
                assert (await acall(gateway, "POST", below(which)))[0] == 200
                (told,) = await page.until(is_type("reset"))
                frames = await other.ask(QUESTION)
                assert {frame["type"] for frame in frames} == {"user_message", "response"}
                await page.until(is_final)
                assert min(data["id"] for data in data_of(frames)) > told["first_id"]


async def test_a_page_that_was_away_when_it_began_anew_reads_the_history_again(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway, rich=1) as page:
        await page.ask(QUESTION)
        own: dict[str, Any] = {"session_id": page.session_id, "resume_token": page.resume_token, "last_seq": 2}
    for rich, was_told in ((1, True), (0, True)):
        async with await PipelineClient.connect(gateway, rich=rich, **own) as back:
            assert (await back.until(is_type("resumed")))[-1]["resumed"] is was_told
    query = f"session_id={own['session_id']}&resume_token={own['resume_token']}"
    assert (await acall(gateway, "POST", below(f"reset/person?{query}")))[0] == 200
    for rich, was_told in ((1, False), (0, True)):
        async with await PipelineClient.connect(gateway, rich=rich, **own) as back:
            assert (await back.until(is_type("resumed")))[-1]["resumed"] is was_told


async def test_a_visitor_does_not_begin_a_room_anew(public: GatewayProcess) -> None:
    async with await PipelineClient.connect(public, "group", headers=SHOP, rich=1) as client:
        query = f"session_id=default&resume_token={client.resume_token}"
        assert (await acall(public, "POST", below(f"reset/group?{query}"), headers=SHOP))[0] == 403
