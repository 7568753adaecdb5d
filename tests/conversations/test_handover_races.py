"""What meets a take-over at the same moment: another one, a hand-back, a growing answer, a repeated question."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

from channels.layers import InMemoryChannelLayer
from django.contrib.auth.models import User
from django.db import connections

from connections.hub import Hub
from conversations import services, signals
from conversations.jobs import Accept, HeldByAnother, SavePartial
from conversations.models import ChatSession, Pipeline
from conversations.phrases import HANDED
from conversations.selectors import messages_after
from conversations.store import commit
from conversations.types import MessageStored, Outcome, ReplyDelta, SessionTopic, StopRequested
from tests.connections.doubles import Database, JsonCodec, Recorder
from tests.conversations.doubles import Echo, ScriptedResponder, new_session, question, texts
from tests.conversations.houses import House, OpenHouse

AN_HOUR = 3600.0
RACES = 100


async def operator(house: House) -> int:
    return (await house.store.read(User.objects.create_user, f"ann-{uuid4()}")).pk


async def take_over(house: House, session: UUID, ann: int) -> None:
    await house.store.read(services.take_over, session, ann, "Ann", seconds=AN_HOUR)


def test_of_two_who_take_over_at_the_same_moment_exactly_one_has_it_each_time(pipeline: Pipeline) -> None:
    sessions = [new_session(pipeline) for _ in range(RACES)]
    commit([Accept(question(session, wants_answer=False), pipeline.pk, uuid4()) for session in sessions])
    operators = {name: User.objects.create_user(f"{name}-{uuid4()}").pk for name in ("Ann", "Bob")}
    start = threading.Barrier(len(operators), timeout=10)

    def take_all(name: str) -> list[str]:
        """Try each session together with the others; return what was said where it was refused."""
        refusals = []
        try:
            for session in sessions:
                start.wait()
                try:
                    services.take_over(session.uuid, operators[name], name, seconds=AN_HOUR)
                    refusals.append("")
                except HeldByAnother as refused:
                    refusals.append(str(refused))
        finally:
            connections.close_all()
        return refusals

    with ThreadPoolExecutor(len(operators)) as threads:
        told = dict(zip(operators, threads.map(take_all, operators), strict=True))
    held = dict(ChatSession.objects.filter(pipeline=pipeline).values_list("uuid", "held_by"))
    for number, session in enumerate(sessions):
        winner = held[session.uuid]
        loser = "Bob" if winner == "Ann" else "Ann"
        assert (told[winner][number], told[loser][number]) == ("", f"{winner} has this conversation.")


async def test_a_question_that_waited_is_answered_once_where_the_bot_has_it_again_by_its_turn(
    open_house: OpenHouse,
) -> None:
    go_on = asyncio.Event()
    house = await open_house(
        openai=ScriptedResponder("So far", go_on, " and more"),
        only_for={"openai": ("contains", "all")},
        knowledge=Echo(),
    )
    session, ann = new_session(house.pipeline), await operator(house)
    first = await house.ask_for_turn(session, "Tell me all.")
    second = await house.ask(session, "And this?")
    await house.audience.until(house.audience.deltas)
    await take_over(house, session.uuid, ann)  # the runner hears nothing of it: the layer is away
    await house.store.read(services.hand_back, session.uuid, ann)
    go_on.set()
    ended, answered = await house.audience.answers(2)
    assert (ended.id, ended.outcome, ended.text) == (first.id, Outcome.HANDED, f"So far and more\n\n{HANDED['en']}")
    assert (answered.id, answered.outcome, answered.text) == (
        second.answer_id,
        Outcome.ANSWERED,
        "You said: And this?",
    )


async def test_only_what_runs_is_asked_to_end(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("So far", asyncio.Event()))
    session, ann = new_session(house.pipeline), await operator(house)
    running = await house.ask_for_turn(session)
    await house.ask(session, "And this?")
    asked: list[int | None] = []
    loop = asyncio.get_running_loop()

    def tell(event: MessageStored | StopRequested, **_signal: object) -> None:
        if isinstance(event, StopRequested):
            asked.append(event.turn)
            loop.call_soon_threadsafe(house.runner.on_control, event)

    signals.said.connect(tell)
    try:
        await take_over(house, session.uuid, ann)
    finally:
        signals.said.disconnect(tell)
    assert texts(await house.audience.answers(2))[1] == HANDED["en"]
    assert asked == [running.id]


async def test_what_comes_late_of_an_answer_that_was_handed_over_is_told_to_nobody(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder(asyncio.Event()))
    session, ann = new_session(house.pipeline), await operator(house)
    turn = await house.ask_for_turn(session)
    await take_over(house, session.uuid, ann)
    asked, notice = await house.store.read(messages_after, session.uuid, 0, 10)
    nothing_missing = Database()
    hub = Hub(
        InMemoryChannelLayer(), JsonCodec(), shared=False, fill=nothing_missing.fill, latest=nothing_missing.latest
    )
    topic, visitor = SessionTopic(session.uuid), Recorder()
    hub.join(topic, visitor, lambda event: event).go_live(0)
    growing, late = (ReplyDelta(turn.id, "person", text, turn.started) for text in ("So far", "So far and more"))
    events = [MessageStored(asked), growing, MessageStored(notice)]
    for event in (*events, late):
        hub.publish(topic, event)
    assert visitor.told == events


async def test_nothing_is_kept_of_an_answer_after_it_was_handed_over(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder(asyncio.Event()))
    session, ann = new_session(house.pipeline), await operator(house)
    turn = await house.ask_for_turn(session)
    await house.store.write(SavePartial(turn, house.worker, "before"))
    await take_over(house, session.uuid, ann)
    await house.store.write(SavePartial(turn, house.worker, "before and after"))
    assert (await house.row(turn.id)).partial == "before"


async def test_a_question_repeated_while_its_answer_is_handed_over_waits_for_that_end(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder(asyncio.Event()))
    session, ann = new_session(house.pipeline), await operator(house)
    asked: dict[str, Any] = {"client_msg_id": "m1", "needs_end": True, "retry_failed": True}
    turn = await house.ask_for_turn(session, **asked)
    await take_over(house, session.uuid, ann)
    again = await house.ask(session, **asked)
    assert (again.duplicate, again.answer_id, again.answer) == (True, turn.id, None)
    house.runner.on_control(StopRequested(session.uuid, turn.id, Outcome.HANDED))
    (answer,) = await house.audience.answers()
    assert (answer.id, answer.outcome) == (turn.id, Outcome.HANDED)


async def test_who_leaves_an_answer_that_was_handed_over_does_not_end_it_otherwise(open_house: OpenHouse) -> None:
    go_on = asyncio.Event()
    house = await open_house(openai=ScriptedResponder(go_on, "late"))
    session, ann = new_session(house.pipeline), await operator(house)
    turn = await house.ask_for_turn(session)
    await take_over(house, session.uuid, ann)
    assert not await house.runner.give_up(session.uuid, turn.id, Outcome.STOPPED)
    go_on.set()
    (answer,) = await house.audience.answers()
    assert answer.outcome is Outcome.HANDED
