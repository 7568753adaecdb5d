"""Which of a pipeline's routes answers, and what becomes of an answer that fails."""

import asyncio
from uuid import uuid4

import pytest
import structlog

from conversations import phrases
from conversations.responders.base import Busy, PastMessage, ResponderError
from conversations.types import Reply, Role
from tests.conversations.doubles import Echo, ScriptedResponder, new_session, texts
from tests.conversations.houses import OpenHouse


async def test_a_responder_hears_what_was_said_before_if_it_wants_to(open_house: OpenHouse) -> None:
    forgetful = ScriptedResponder(ResponderError("no"))
    mindful = ScriptedResponder("Yes.", wants_history=True)
    house = await open_house(knowledge=forgetful, openai=mindful)
    session = new_session(house.pipeline)
    await house.ask(session, "one")
    await house.audience.answers(1)
    await house.ask(session, "ai two", prompt="two")
    await house.audience.answers(2)
    ask = mindful.asked[1]
    assert (ask.question, ask.language, ask.route.kind, ask.pipeline.uuid) == ("two", "en", "openai", house.pipeline)
    assert list(ask.history) == [PastMessage(Role.USER, "one"), PastMessage(Role.ASSISTANT, "Yes.")]
    assert [list(asked.history) for asked in forgetful.asked] == [[], []]


async def test_a_responder_hears_whether_who_only_asks_for_a_person_was_heard(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("Yes.")
    house = await open_house(knowledge=responder)
    called, alone = new_session(house.pipeline), new_session(house.pipeline)
    await house.ask(called, "转人工", contact=uuid4())
    await house.ask(alone, "转人工")
    await house.ask(alone, "怎么转人工？")
    await house.audience.answers(3)
    asked = {(ask.question, ask.called) for ask in responder.asked}
    assert asked == {("转人工", True), ("转人工", False), ("怎么转人工？", None)}


async def test_the_deadline_is_one_for_all_routes(open_house: OpenHouse) -> None:
    slow = ScriptedResponder(asyncio.Event())
    house = await open_house(openai=ScriptedResponder(ResponderError("no")), knowledge=slow, deadline=0.2)
    asked_at = asyncio.get_running_loop().time()
    await house.ask(new_session(house.pipeline), "问题")
    assert texts(await house.audience.answers()) == [phrases.CUT["zh-hans"]]
    assert slow.asked[0].deadline - asked_at < 1


async def test_a_responder_that_cannot_answer_leaves_it_to_the_next_which_says_so(open_house: OpenHouse) -> None:
    house = await open_house(
        openai=ScriptedResponder(ResponderError("429")), knowledge=ScriptedResponder("From a book.")
    )
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [phrases.FALLBACK["en"] + "From a book."]
    assert await house.outcome(turn.id) == ("answered", "knowledge")


async def test_a_service_that_was_away_is_not_called_a_model(open_house: OpenHouse) -> None:
    house = await open_house(
        service=ScriptedResponder(ResponderError("not connected")), knowledge=ScriptedResponder("From a book.")
    )
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == ["From a book."]
    assert await house.outcome(turn.id) == ("answered", "knowledge")


async def test_behind_a_service_and_a_model_that_were_away_the_documents_say_so(open_house: OpenHouse) -> None:
    house = await open_house(
        service=ScriptedResponder(ResponderError("not connected")),
        openai=ScriptedResponder(ResponderError("429")),
        knowledge=ScriptedResponder("From a book."),
    )
    await house.ask(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [phrases.FALLBACK["en"] + "From a book."]


@pytest.mark.parametrize(
    ("match", "pattern"), [("contains", "weather"), ("prefix", "weather"), ("regex", r"\bweather")]
)
async def test_a_route_answers_the_questions_it_is_for(open_house: OpenHouse, match: str, pattern: str) -> None:
    service = ScriptedResponder("It rains.")
    house = await open_house(
        service=service, knowledge=ScriptedResponder("From a book."), only_for={"service": (match, pattern)}
    )
    session = new_session(house.pipeline)
    await house.ask(session, "What is a book?")
    await house.ask(session, "Weather in Beijing?")
    assert texts(await house.audience.answers(2)) == ["From a book.", "It rains."]
    assert [ask.question for ask in service.asked] == ["Weather in Beijing?"]


@pytest.mark.parametrize(("pattern", "reason"), [("(", "is no regular expression"), ("(a+)+b", "took longer")])
async def test_a_pattern_that_cannot_tell_is_passed_by_and_logged_once(
    open_house: OpenHouse, pattern: str, reason: str
) -> None:
    house = await open_house(
        service=Echo(), knowledge=ScriptedResponder("From a book."), only_for={"service": ("regex", pattern)}
    )
    session = new_session(house.pipeline)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await house.ask(session, "a" * 500)
        assert texts(await house.audience.answers(2)) == ["From a book."] * 2
    (entry,) = [entry for entry in logs if entry["event"] == "route.pattern_failed"]
    assert reason in entry["reason"]
    assert "aaa" not in str(entry)


async def test_a_route_without_its_responder_is_passed_by_in_silence(open_house: OpenHouse) -> None:
    configured = await open_house(openai=Echo(), knowledge=Echo())
    house = await open_house(beside=configured, knowledge=ScriptedResponder("From a book."))
    await house.ask(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == ["From a book."]


async def test_an_honest_i_do_not_know_is_on_record(open_house: OpenHouse) -> None:
    house = await open_house(knowledge=ScriptedResponder("I don't know.", Reply(known=False)))
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == ["I don't know."]
    assert await house.outcome(turn.id) == ("unknown", "knowledge")


async def test_a_responder_that_breaks_off_ends_the_answer(open_house: OpenHouse) -> None:
    second = ScriptedResponder("Other.")
    house = await open_house(openai=ScriptedResponder("So far", ResponderError("cut")), knowledge=second)
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [f"So far\n\n{phrases.BROKEN_OFF['en']}"]
    assert await house.outcome(turn.id) == ("failed", "openai")
    assert second.asked == []


@pytest.mark.parametrize(("failure_text", "said"), [("Call us.", "Call us."), ("", phrases.FAILURE["en"])])
async def test_when_nobody_can_answer_the_visitor_is_told(open_house: OpenHouse, failure_text: str, said: str) -> None:
    house = await open_house(
        openai=ScriptedResponder(ResponderError("no")),
        knowledge=ScriptedResponder(ResponderError("nor I")),
        failure_text=failure_text,
    )
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [said]
    assert (await house.outcome(turn.id))[0] == "failed"


async def test_when_all_are_busy_the_visitor_is_asked_to_try_again(open_house: OpenHouse) -> None:
    house = await open_house(
        openai=ScriptedResponder(Busy("too many")),
        knowledge=ScriptedResponder(ResponderError("no")),
        failure_text="Call us.",
    )
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [phrases.BUSY["en"]]
    assert (await house.outcome(turn.id))[0] == "failed"


async def test_a_pipeline_without_a_route_says_that_it_cannot_answer(open_house: OpenHouse) -> None:
    house = await open_house()
    await house.ask(new_session(house.pipeline), "问题")
    assert texts(await house.audience.answers()) == [phrases.FAILURE["zh-hans"]]


async def test_a_bug_in_a_responder_costs_its_own_answer_only(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder(RuntimeError("a bug")), knowledge=Echo())
    session = new_session(house.pipeline)
    await house.ask(session, "one")
    await house.ask(session, "two")
    said = [phrases.FALLBACK["en"] + f"You said: {text}" for text in ("one", "two")]
    assert texts(await house.audience.answers(2)) == said
