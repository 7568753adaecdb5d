"""One question, one answer, exactly one end: with a real store, and responders that keep to a script."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conversations import phrases
from conversations.answer import RunningTurn
from conversations.courtesy import CROWD
from conversations.jobs import Accept, Finish, GiveUp, SavePartial
from conversations.models import ChatSession, Message, Pipeline, Route
from conversations.models import Turn as TurnRow
from conversations.responders.base import Ask
from conversations.store import Refused, StoreClosed, StoreFull
from conversations.turns import RUNNING_TURNS, PipelineMissing, TurnLimits
from conversations.types import (
    Citation,
    MessageStored,
    Outcome,
    Question,
    Reply,
    ReplyDelta,
    Role,
    SessionKey,
    Usage,
    room_key,
)
from tests.conversations.conftest import Database
from tests.conversations.doubles import Audience, Echo, ScriptedResponder, new_session, question, texts
from tests.conversations.houses import House, OpenHouse

# --- One turn ----------------------------------------------------------------------------------


async def test_a_turn_is_told_as_question_deltas_and_one_end(open_house: OpenHouse) -> None:
    pause = asyncio.Event()
    citation = Citation("d", "s", "t", "", 1.0)
    responder = ScriptedResponder("One ", pause, "two", Reply((citation,), Usage(7, 9)))
    house = await open_house(openai=responder)
    session = new_session(house.pipeline)
    accepted = await house.ask(session, connection_id="c1")
    await house.audience.until(house.audience.deltas)
    pause.set()
    (answer,) = await house.audience.answers()
    first, *deltas, last = house.audience.events
    assert first == MessageStored(accepted.message)
    assert last == MessageStored(answer)
    for delta in deltas:
        assert isinstance(delta, ReplyDelta)
        assert (delta.id, delta.timestamp, delta.reply_to) == (answer.id, answer.timestamp, "c1")
    assert (answer.text, answer.seq, answer.role) == ("One two", 2, Role.ASSISTANT)
    assert (answer.citations, answer.reply_to) == ((citation,), "c1")
    row = await house.row(answer.id)
    assert (row.state, row.outcome, row.responder, row.prompt_tokens) == ("ended", "answered", "openai", 7)
    assert row.first_text_ms is not None
    assert house.runner.running == 0


async def test_the_end_is_told_only_once_it_is_stored(open_house: OpenHouse, database: Database) -> None:
    house = await open_house(openai=Echo())
    await house.ask(new_session(house.pipeline))
    (answer,) = await house.audience.answers()
    connection = database.connect()
    try:
        found = connection.execute(f"SELECT text FROM conversations_message WHERE id = {answer.id:d}").fetchone()  # noqa: S608
    finally:
        connection.close()
    assert found == (answer.text,)


async def test_a_message_that_wants_no_answer_gets_none(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("No.")
    house = await open_house(openai=responder)
    session = new_session(house.pipeline)
    assert (await house.ask(session, wants_answer=False)).turn is None
    await house.ask(session)
    await house.audience.answers()
    assert len(responder.asked) == 1
    assert [message.seq for message in house.audience.questions()] == [1, 2]


async def test_the_outbox_is_woken_where_it_got_work(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    session = new_session(house.pipeline)
    await house.ask(session, client_msg_id="m1")
    await house.audience.answers()
    assert house.woken == 0
    await house.ask(session, client_msg_id="m1", notify="call")
    assert house.woken == 1
    await house.ask(session, notify="call")
    await house.audience.answers(2)
    assert house.woken == 2


async def test_questions_of_one_session_are_answered_in_order(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo(), interval=0.0001)
    session = new_session(house.pipeline)
    said = [f"number {number}" for number in range(5)]
    await asyncio.gather(*(house.ask(session, text) for text in said))
    answers = await house.audience.answers(5)
    assert texts(answers) == [f"You said: {text}" for text in said]
    assert [answer.seq for answer in answers] == [6, 7, 8, 9, 10]
    spoken = [event.id for event in house.audience.events if isinstance(event, ReplyDelta)]
    assert spoken == sorted(spoken)


async def test_sessions_do_not_wait_for_one_another(open_house: OpenHouse) -> None:
    slow, quick = ScriptedResponder("Slow.", asyncio.Event()), Echo()
    first = await open_house(openai=slow)
    await first.ask(new_session(first.pipeline))
    second = await open_house(beside=first, openai=quick)
    await second.ask(new_session(first.pipeline))
    assert len(await first.audience.answers()) == 1
    assert first.runner.running == 1


class Waiter:
    """Answers at once, but for questions that want it to wait, for a gate each."""

    wants_history = False
    repeatable = True

    def __init__(self) -> None:
        self.gates = {"Wait!": asyncio.Event(), "a": asyncio.Event()}

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        if gate := self.gates.get(ask.question):
            await gate.wait()
        yield f"You said: {ask.question}"
        yield Reply()


async def crowd(house: House, waiter: Waiter) -> SessionKey:
    """Have CROWD turns wait; return the session of one more, which has asked three things and may have one answered."""
    for _ in range(CROWD):
        await house.ask(new_session(house.pipeline), "Wait!")
    hasty = new_session(house.pipeline)
    for text in ("a", "b", "c"):
        await house.ask(hasty, text)
    waiter.gates["a"].set()
    return hasty


async def test_who_asks_many_at_once_lets_others_go_first_where_many_are_answered(open_house: OpenHouse) -> None:
    waiter = Waiter()
    house = await open_house(openai=waiter, pace=3600.0)
    hasty = await crowd(house, waiter)
    assert texts(await house.audience.answers()) == ["You said: a"]
    await house.ask(new_session(house.pipeline), "one thing")
    assert texts(await house.audience.answers(2)) == ["You said: a", "You said: one thing"]
    assert house.runner.running == CROWD + 1
    waiter.gates["Wait!"].set()
    await house.audience.answers(2 + CROWD)
    house.runner.stop(hasty.uuid)
    answers = await house.audience.answers(2 + CROWD + 2)
    assert texts(answers)[-2:] == ["", "You said: c"]


async def test_what_waited_is_answered_after_a_moment_where_many_are(open_house: OpenHouse) -> None:
    waiter = Waiter()
    house = await open_house(openai=waiter)
    await crowd(house, waiter)
    assert texts(await house.audience.answers(3)) == ["You said: a", "You said: b", "You said: c"]
    waiter.gates["Wait!"].set()


# --- Asking ------------------------------------------------------------------------------------


async def test_a_question_to_no_pipeline_is_refused(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    with pytest.raises(PipelineMissing):
        await house.ask(new_session(uuid4()))


async def test_more_turns_than_a_process_runs_are_refused(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    # Running so many for real takes the whole time of this file.
    house.runner._running.update((uuid4(), RunningTurn(0)) for _ in range(RUNNING_TURNS))
    with pytest.raises(StoreFull):
        await house.ask(new_session(house.pipeline))
    assert (await house.ask(new_session(house.pipeline), wants_answer=False)).message.seq == 1
    house.runner._running.clear()


async def test_a_refusal_of_the_store_reaches_who_asked(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    session = new_session(house.pipeline)
    await house.ask(session, "one", client_msg_id="m1")
    with pytest.raises(Refused):
        await house.ask(session, "two", client_msg_id="m1")
    assert texts(house.audience.questions()) == ["one"]


async def test_a_refusal_is_no_fault_where_whoever_asked_has_left(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    session = new_session(house.pipeline)
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    await house.runner.ask(question(session, "One", client_msg_id="m"))
    asking = house.runner.ask(question(session, "Another", client_msg_id="m"))
    asking.cancel()
    await house.audience.answers()
    with pytest.raises(Refused):  # stored after the one before
        await house.runner.ask(question(session, "A third", client_msg_id="m"))
    del asking
    gc.collect()
    assert not complaints


async def test_a_question_sent_again_is_answered_once(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("Yes.")
    house = await open_house(openai=responder)
    session = new_session(house.pipeline)
    results = await asyncio.gather(*(house.ask(session, client_msg_id="m1") for _ in range(20)))
    assert sum(result.duplicate for result in results) == 19
    (answer,) = await house.audience.answers()
    assert (await house.ask(session, client_msg_id="m1")).answer == answer
    assert len(responder.asked) == len(house.audience.questions()) == 1


async def test_an_answer_outlives_whoever_asked(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    visitor = asyncio.get_running_loop().create_task(house.ask(new_session(house.pipeline), "Hello"))
    await house.store.watch.until(lambda: house.store.jobs)
    visitor.cancel()
    assert texts(await house.audience.answers()) == ["You said: Hello"]


# --- Ends --------------------------------------------------------------------------------------


async def test_stop_keeps_what_was_said(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("So far", asyncio.Event(), " and more")
    house = await open_house(openai=responder)
    session = new_session(house.pipeline)
    turn = await house.ask_for_turn(session)
    await house.audience.until(house.audience.deltas)
    house.runner.stop(session.uuid)
    house.runner.stop(session.uuid)
    assert texts(await house.audience.answers()) == ["So far"]
    assert (await house.outcome(turn.id))[0] == "stopped"
    assert responder.closed == 1


async def test_stop_reaches_the_worker_that_answers_and_that_session_only(open_house: OpenHouse) -> None:
    first = await open_house(openai=ScriptedResponder("First", asyncio.Event()))
    second = await open_house(beside=first, openai=ScriptedResponder("Second", asyncio.Event()))
    stopped, running = new_session(first.pipeline), new_session(first.pipeline)
    await first.ask(stopped)
    await first.ask(running)
    await first.audience.until(lambda: len(first.audience.deltas()) == 2)
    second.runner.stop(stopped.uuid)
    (answer,) = await first.audience.answers()
    assert answer.session == stopped.uuid
    assert first.runner.running == 1


async def test_the_next_question_is_answered_after_a_stop(open_house: OpenHouse) -> None:
    gate = asyncio.Event()
    house = await open_house(openai=ScriptedResponder("Text", gate))
    session = new_session(house.pipeline)
    await house.ask(session)
    await house.ask(session)
    await house.audience.until(house.audience.deltas)
    house.runner.stop(session.uuid)
    await house.audience.answers(1)
    gate.set()
    first, second = await house.audience.answers(2)
    assert (await house.outcome(first.id))[0] == "stopped"
    assert (await house.outcome(second.id))[0] == "answered"


async def test_a_turn_that_waits_can_be_stopped_by_its_id(open_house: OpenHouse) -> None:
    go_on = asyncio.Event()
    responder = ScriptedResponder("The answer.", go_on)
    house = await open_house(knowledge=responder)
    session = new_session(house.pipeline)
    first = await house.ask_for_turn(session)
    waiting = await house.ask(session, "And this?")
    assert waiting.turn is None
    assert waiting.answer_id is not None
    house.runner.stop(session.uuid, turn=waiting.answer_id)
    assert (await house.row(first.id)).state != TurnRow.State.ENDED
    go_on.set()
    await house.audience.answers(2)
    assert (await house.outcome(first.id))[0] == "answered"
    assert (await house.outcome(waiting.answer_id))[0] == "stopped"
    assert len(responder.asked) == 1


async def test_the_deadline_cuts_an_answer_and_says_so(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("So far", asyncio.Event())
    house = await open_house(openai=responder, knowledge=Echo(), deadline=0.1)
    turn = await house.ask_for_turn(new_session(house.pipeline))
    assert texts(await house.audience.answers()) == [f"So far\n\n{phrases.CUT['en']}"]
    assert (await house.outcome(turn.id))[0] == "cut"
    assert responder.closed == 1


async def test_an_answer_that_no_database_takes_is_ended_all_the_same(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("half a character \ud800"))
    session = new_session(house.pipeline)
    turn = await house.ask_for_turn(session, stream=False)
    assert texts(await house.audience.answers()) == [phrases.FAILURE["en"]]
    assert (await house.outcome(turn.id))[0] == "failed"


# --- When the database or a worker goes away ---------------------------------------------------


async def test_an_end_is_tried_until_the_database_takes_it(open_house: OpenHouse, database: Database) -> None:
    database.set_lock_timeout(0.1)
    gate = asyncio.Event()
    house = await open_house(openai=ScriptedResponder("Text", gate))
    session = new_session(house.pipeline)
    await house.ask(session)
    await house.audience.until(house.audience.deltas)
    with database.locked():
        gate.set()
        await house.store.given(Finish, times=2)
        assert house.runner.running == 1
    assert texts(await house.audience.answers()) == ["Text"]
    await house.ask(session)
    assert [answer.seq for answer in await house.audience.answers(2)] == [2, 4]


async def test_a_turn_that_nobody_had_begun_is_run_again(open_house: OpenHouse) -> None:
    dead = await open_house(openai=ScriptedResponder("Half", asyncio.Event()))
    turn = await dead.ask_for_turn(new_session(dead.pipeline), "Hello", connection_id="c1")
    await dead.audience.until(dead.audience.deltas)
    dead.runner.abandon()
    alive = await open_house(beside=dead, openai=Echo())
    await alive.take_over(dead.worker)
    (answer,) = await alive.audience.answers()
    assert (answer.id, answer.text, answer.reply_to) == (turn.id, "You said: Hello", "c1")
    assert await alive.outcome(turn.id) == ("answered", "openai")


async def test_a_turn_that_had_begun_is_ended_with_what_was_said(open_house: OpenHouse) -> None:
    dead = await open_house(openai=ScriptedResponder("Half", asyncio.Event(), repeatable=False))
    session = new_session(dead.pipeline)
    turn = await dead.ask_for_turn(session)
    await dead.ask(session, "next")
    await dead.audience.until(dead.audience.deltas)
    assert (await dead.row(turn.id)).begun_at is not None
    await dead.store.write(SavePartial(turn, dead.worker, "Half"))
    dead.runner.abandon()
    alive = await open_house(beside=dead, openai=Echo())
    await alive.take_over(dead.worker)
    assert texts(await alive.audience.answers(2)) == [f"Half\n\n{phrases.BROKEN_OFF['en']}", "You said: next"]
    assert (await alive.outcome(turn.id))[0] == "failed"


async def test_what_nobody_waits_for_any_more_is_ended_and_not_run_again(open_house: OpenHouse) -> None:
    dead = await open_house(openai=ScriptedResponder("Half", asyncio.Event()))
    turn = await dead.ask_for_turn(new_session(dead.pipeline))
    await dead.audience.until(dead.audience.deltas)
    await dead.store.write(SavePartial(turn, dead.worker, "Half"))
    dead.runner.abandon()
    assert await dead.store.write(GiveUp(turn.session.uuid, turn.id, Outcome.STOPPED))
    echo = ScriptedResponder("Anew")
    alive = await open_house(beside=dead, openai=echo)
    await alive.take_over(dead.worker)
    assert texts(await alive.audience.answers()) == ["Half"]
    assert echo.asked == []
    assert (await alive.outcome(turn.id))[0] == "stopped"


async def test_a_worker_that_lives_keeps_its_turns(open_house: OpenHouse) -> None:
    gate = asyncio.Event()
    one = await open_house(openai=ScriptedResponder("Mine.", gate))
    other = await open_house(beside=one, openai=Echo())
    await one.ask(new_session(one.pipeline))
    await other.take_over(uuid4())
    gate.set()
    assert texts(await one.audience.answers()) == ["Mine."]


async def test_of_two_workers_only_the_one_that_took_over_ends_the_turn(open_house: OpenHouse) -> None:
    gate = asyncio.Event()
    slow = await open_house(openai=ScriptedResponder("Late.", gate))
    turn = await slow.ask_for_turn(new_session(slow.pipeline), "Hello")
    await slow.audience.until(slow.audience.deltas)
    quick = await open_house(beside=slow, openai=Echo())
    await quick.take_over(slow.worker)
    await quick.audience.answers()
    gate.set()
    await slow.store.given(Finish)
    await slow.runner.drain(5)
    assert texts(await slow.audience.answers()) == ["You said: Hello"]
    assert await quick.outcome(turn.id) == ("answered", "openai")


async def test_an_abandoned_turn_is_dropped_without_an_end(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("Half", asyncio.Event())
    house = await open_house(openai=responder)
    turn = await house.ask_for_turn(new_session(house.pipeline))
    await house.audience.until(house.audience.deltas)
    house.runner.abandon()
    await house.runner.drain(5)
    assert (house.runner.running, responder.closed) == (0, 1)
    assert (await house.row(turn.id)).state == TurnRow.State.RUNNING
    assert texts(await house.audience.answers(0)) == []


async def test_a_turn_dropped_before_its_first_step_does_not_block_its_session(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    session = new_session(house.pipeline)
    pipeline = await house.store.read(lambda: Pipeline.objects.get(uuid=house.pipeline))
    accepted = await house.store.write(Accept(Question(session, "langbot", "Hello"), pipeline.pk, house.worker))
    house.runner._start(accepted.turn)
    house.runner.abandon()
    await house.take_over(uuid4())
    await house.take_over(uuid4())
    assert texts(await house.audience.answers()) == ["You said: Hello"]


async def test_a_turn_whose_commit_was_not_acknowledged_is_found_and_run(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    question = Question(new_session(house.pipeline), "langbot", "Hello")
    pipeline = await house.store.read(lambda: Pipeline.objects.get(uuid=house.pipeline))
    accepted = await house.store.write(Accept(question, pipeline.pk, house.worker))  # the runner hears nothing
    await house.take_over(uuid4())
    assert not house.audience.deltas(), "its acknowledgement might still be on its way"
    await house.take_over(uuid4())
    (answer,) = await house.audience.answers()
    assert (answer.id, answer.text) == (accepted.turn.id, "You said: Hello")
    await house.take_over(uuid4())
    assert await house.outcome(answer.id) == ("answered", "openai")


# --- Stopping ----------------------------------------------------------------------------------


async def test_drain_lets_running_answers_end(open_house: OpenHouse) -> None:
    gate = asyncio.Event()
    house = await open_house(openai=ScriptedResponder("Text", gate))
    await house.ask(new_session(house.pipeline))
    draining = asyncio.get_running_loop().create_task(house.runner.drain(10))
    await asyncio.sleep(0)
    with pytest.raises(StoreClosed):
        await house.ask(new_session(house.pipeline))
    assert not draining.done()
    gate.set()
    await draining
    assert texts(await house.audience.answers()) == ["Text"]


async def test_drain_waits_for_a_question_on_its_way(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    asking = house.runner.ask(question(new_session(house.pipeline), "Hello"))
    await house.runner.drain(10)
    await asking
    assert texts(await house.audience.answers()) == ["You said: Hello"]


async def test_drain_cuts_what_outlasts_its_patience(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("So far", asyncio.Event()))
    turn = await house.ask_for_turn(new_session(house.pipeline))
    await house.runner.drain(0.05)
    assert house.runner.running == 0
    assert texts(await house.audience.answers()) == [f"So far\n\n{phrases.BROKEN_OFF['en']}"]
    assert (await house.outcome(turn.id))[0] == "cut"


async def test_what_waited_behind_a_cut_answer_is_the_next_workers(open_house: OpenHouse) -> None:
    responder = ScriptedResponder("First", asyncio.Event())
    stopping = await open_house(openai=responder)
    session = new_session(stopping.pipeline)
    await stopping.ask(session, "one")
    await stopping.ask(session, "two")
    await stopping.runner.drain(0.05)
    assert len(responder.asked) == 1
    next_one = await open_house(beside=stopping, openai=Echo())
    await next_one.take_over(stopping.worker)
    assert texts(await next_one.audience.answers(2))[1] == "You said: two"


# --- Whatever comes in whatever order ----------------------------------------------------------

asks = st.tuples(st.integers(0, 2), st.integers(0, 1), st.booleans(), st.booleans())


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(asks, min_size=1, max_size=12))
def test_any_interleaving_gives_one_order_and_one_answer_each(
    database: Database, script: list[tuple[int, int, bool, bool]]
) -> None:
    """Each step: in which session, at which worker, whether it wants an answer, whether its storing is waited for."""
    pipeline = Pipeline.objects.create(name="Shop")
    Route.objects.create(pipeline=pipeline, kind="openai")
    rooms = [room_key(pipeline.uuid, str(number)) for number in range(3)]
    wanted = [f"{number}" for number, step in enumerate(script) if step[2]]

    async def play() -> Audience:
        audience = Audience()
        houses = [House(pipeline.uuid, {"openai": Echo()}, audience, TurnLimits(delta_interval=0.0)) for _ in range(2)]
        for house in houses:
            await house.catalogue.refresh()
        asking = []
        for number, (room, worker, wants_answer, wait) in enumerate(script):
            one = houses[worker].runner.ask(question(rooms[room], f"{number}", wants_answer=wants_answer))
            asking.append(one)
            if wait:
                await one
        await asyncio.gather(*asking)
        await audience.answers(len(wanted))
        for house in houses:
            await house.close()
        return audience

    audience = asyncio.run(play())
    for room in rooms:
        stored = list(Message.objects.filter(session__uuid=room.uuid).order_by("seq"))
        assert [message.seq for message in stored] == list(range(1, len(stored) + 1))
        assert [message.pk for message in stored if message.role == "user"] == sorted(
            message.pk for message in stored if message.role == "user"
        )
        # The session's answers come in the order of its questions.
        questions = [message.text for message in stored if message.role == "user" and message.text in wanted]
        answers = [message.text for message in stored if message.role == "assistant"]
        assert answers == [f"You said: {text}" for text in questions]
    told = [event.message.id for event in audience.events if isinstance(event, MessageStored)]
    assert sorted(told) == sorted(Message.objects.filter(session__pipeline=pipeline).values_list("id", flat=True))
    assert len(told) == len(script) + len(wanted)
    assert not TurnRow.objects.filter(session__pipeline=pipeline).exclude(state="ended").exists()
    assert set(ChatSession.objects.filter(pipeline=pipeline).values_list("open_turns", flat=True)) == {0}
