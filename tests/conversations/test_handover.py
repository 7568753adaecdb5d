"""A person takes a conversation over from the bot and gives it back: who may, and what the bot still says."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User

from conversations import services, signals
from conversations.idle import Holds
from conversations.jobs import HeldByAnother, Release
from conversations.models import ChatSession, ContactRequest, OutboxEntry
from conversations.phrases import HANDED, HELD, JOINED, LEFT
from conversations.selectors import messages_after
from conversations.store import Refused
from conversations.types import (
    ControlTopic,
    Event,
    MessageStored,
    Outcome,
    Role,
    SessionKey,
    SessionTopic,
    StoredMessage,
)
from tests.conversations.doubles import Audience, Echo, ScriptedResponder, Talker, new_session, texts
from tests.conversations.houses import House, OpenHouse

AN_HOUR = 3600.0


@pytest.fixture
def announced() -> Iterator[Callable[[Audience], None]]:
    """A function that has an audience told of what services do, as the layer does."""
    connected: list[Any] = []

    def announce_to(audience: Audience) -> None:
        loop = asyncio.get_running_loop()

        def tell(event: Event, **_signal: Any) -> None:
            topic = SessionTopic(event.message.session) if isinstance(event, MessageStored) else ControlTopic()
            loop.call_soon_threadsafe(audience.publish, topic, event)

        signals.said.connect(tell, weak=False)
        connected.append(tell)

    yield announce_to
    for tell in connected:
        signals.said.disconnect(tell)


class Desk:
    """Operators of one house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.operators: dict[str, int] = {}

    async def id_of(self, name: str) -> int:
        if name not in self.operators:
            user = await self.house.store.read(User.objects.create_user, f"{name}-{uuid4()}")
            self.operators[name] = user.pk
        return self.operators[name]

    async def take_over(self, session: SessionKey, name: str, seconds: float = AN_HOUR) -> None:
        operator = await self.id_of(name)
        await self.house.store.read(services.take_over, session.uuid, operator, name, seconds=seconds)

    async def hand_back(self, session: SessionKey, name: str) -> None:
        await self.house.store.read(services.hand_back, session.uuid, await self.id_of(name))

    async def say(self, session: SessionKey, text: str, name: str, seconds: float = AN_HOUR) -> None:
        operator = await self.id_of(name)
        await self.house.store.read(
            services.reply_as_owner, session.uuid, text, name=name, operator=operator, seconds=seconds
        )

    async def transcript(self, session: SessionKey) -> list[tuple[str, str]]:
        """Return role and text of all that was said."""
        found = await self.house.store.read(messages_after, session.uuid, 0, 100)
        assert [message.seq for message in found] == list(range(1, len(found) + 1))
        return [(message.role.value, message.text) for message in found]


def notices(audience: Audience) -> list[StoredMessage]:
    """Return the notices told of."""
    told = [event.message for event in audience.events if isinstance(event, MessageStored)]
    return [message for message in told if message.role is Role.NOTICE]


async def test_who_takes_over_silences_the_bot_until_he_hands_back(
    open_house: OpenHouse, announced: Callable[[Audience], None]
) -> None:
    house = await open_house(openai=Echo())
    announced(house.audience)
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session, "Hello?")
    await house.audience.answers()
    await desk.take_over(session, "Ann")
    await house.audience.until(lambda: len(notices(house.audience)) == 1)
    accepted = await house.ask(session, "Are you there?")
    assert (accepted.turn, accepted.answer, accepted.answer_id) == (None, None, None)
    await desk.say(session, "I am.", "Ann")
    await desk.hand_back(session, "Ann")
    await house.audience.until(lambda: len(notices(house.audience)) == 2)
    await house.ask(session, "And now?")
    await house.audience.answers(2)
    assert await desk.transcript(session) == [
        ("user", "Hello?"),
        ("assistant", "You said: Hello?"),
        ("notice", JOINED["en"].format(name="Ann")),
        ("user", "Are you there?"),
        ("operator", "I am."),
        ("notice", LEFT["en"].format(name="Ann")),
        ("user", "And now?"),
        ("assistant", "You said: And now?"),
    ]
    assert [notice.sender.name for notice in notices(house.audience) if notice.sender] == ["Ann", "Ann"]


async def test_of_a_running_answer_only_what_was_shown_is_kept(
    open_house: OpenHouse, announced: Callable[[Audience], None]
) -> None:
    responder = ScriptedResponder("So far", asyncio.Event(), " and more")
    house = await open_house(openai=responder)
    announced(house.audience)
    desk, session = Desk(house), new_session(house.pipeline)
    turn = await house.ask_for_turn(session, "Tell me all.")
    second = await house.ask(session, "And this?")
    await house.audience.until(house.audience.deltas)
    await desk.take_over(session, "Ann")
    answers = await house.audience.answers(2)
    assert texts(answers) == [f"So far\n\n{HANDED['en']}", HANDED["en"]]
    assert [answer.outcome for answer in answers] == [Outcome.HANDED] * 2
    assert [answer.id for answer in answers] == [turn.id, second.answer_id]
    assert house.audience.deltas() == ["So far"]
    assert len(responder.asked) == responder.closed == 1
    assert await house.outcome(turn.id) == ("handed", "")


async def test_a_worker_that_hears_nothing_of_it_stores_no_more_than_it_had_shown(open_house: OpenHouse) -> None:
    go_on = asyncio.Event()
    house = await open_house(openai=ScriptedResponder("So far", go_on, " and more"))
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session, "Tell me all.", stream=False)
    await desk.take_over(session, "Ann")  # nobody is told: the layer is away
    go_on.set()
    assert texts(await house.audience.answers()) == [HANDED["en"]]
    assert house.audience.deltas() == []


async def test_a_caller_who_can_be_told_nothing_later_gets_a_notice_once(open_house: OpenHouse, kind: str) -> None:
    house = await open_house(openai=Echo())
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session, "你好")
    await house.audience.answers()
    await desk.take_over(session, "Ann")
    asked = {"client_msg_id": "m1", "needs_end": True, "retry_failed": True, "notify": kind}
    accepted = await house.ask(session, "在吗", **asked)
    assert accepted.answer is not None
    assert (accepted.answer.text, accepted.answer.outcome) == (HELD["zh-hans"], Outcome.HANDED)
    assert (accepted.answer.id, accepted.answer.request_id) == (accepted.answer_id, "m1")
    again = await house.ask(session, "在吗", **asked)
    assert (again.duplicate, again.answer) == (True, accepted.answer)
    assert texts(await house.audience.answers(2)) == ["You said: 你好", HELD["zh-hans"]]
    assert await house.store.read(OutboxEntry.objects.filter(kind=kind, message_id=accepted.answer.id).count) == 1


async def test_of_two_who_take_over_at_once_one_has_it(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session)
    names = ["Ann", "Bob"]
    results = await asyncio.gather(*(desk.take_over(session, name) for name in names), return_exceptions=True)
    (refused,) = [result for result in results if result is not None]
    assert isinstance(refused, HeldByAnother)
    assert str(refused) == f"{names[results.index(None)]} has this conversation."
    assert len([role for role, _ in await desk.transcript(session) if role == "notice"]) == 1


async def test_who_does_not_hold_it_can_neither_speak_nor_hand_back(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session)
    await house.audience.answers()
    await desk.take_over(session, "Ann")
    await desk.take_over(session, "Ann")
    with pytest.raises(HeldByAnother, match="Ann has this conversation"):
        await desk.say(session, "Hello", "Bob")
    with pytest.raises(HeldByAnother):
        await desk.hand_back(session, "Bob")
    assert [role for role, _ in await desk.transcript(session)] == ["user", "assistant", "notice"]


async def test_a_refused_reply_leaves_the_contact_request_open(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    desk, session, request = Desk(house), new_session(house.pipeline), uuid4()
    await house.ask(session, contact=request)
    await house.audience.answers()
    await desk.take_over(session, "Ann")
    with pytest.raises(HeldByAnother):
        await house.store.read(services.reply_as_owner, session.uuid, "Hello", name="Bob", contacts=(request,))
    row = await house.store.read(ContactRequest.objects.get, uuid=request)
    assert row.state == ContactRequest.State.RECEIVED


@pytest.mark.parametrize("act", [services.take_over, services.hand_back])
async def test_what_nobody_has_spoken_in_is_refused(open_house: OpenHouse, act: Callable[..., None]) -> None:
    house = await open_house(openai=Echo())
    more = (1, "Ann") if act is services.take_over else (1,)
    options = {"seconds": AN_HOUR} if act is services.take_over else {}
    with pytest.raises(Refused, match="no such session"):
        await house.store.read(act, uuid4(), *more, **options)


async def test_what_nobody_touches_goes_back_to_the_bot(open_house: OpenHouse) -> None:
    house = await open_house(openai=Echo())
    desk, session = Desk(house), new_session(house.pipeline)
    touched = new_session(house.pipeline)
    for one in (session, touched):
        await house.ask(one)
        await desk.take_over(one, "Ann")
    holds = Holds(house.store, house.audience.publish, patience=0.5)
    await holds.hand_back()  # who looks for the first time does not know how long it was so already
    await desk.say(touched, "Still here.", "Ann")
    async with asyncio.timeout(20):
        while session.uuid not in {notice.session for notice in notices(house.audience)}:
            await desk.say(touched, "Still here.", "Ann")
            await holds.hand_back()
    assert await house.store.read(_held, session.uuid) is False
    assert await house.store.read(_held, touched.uuid) is True


async def test_an_answer_that_is_still_growing_ends_although_nobody_told_its_worker(open_house: OpenHouse) -> None:
    house = await open_house(openai=Talker("word ", pace=0.05))
    desk, session = Desk(house), new_session(house.pipeline)
    await house.ask(session, "Tell me all.")
    await house.audience.until(house.audience.deltas)
    await desk.take_over(session, "Ann")  # the layer is away
    (answer,) = await house.audience.answers()
    assert answer.outcome is Outcome.HANDED
    assert answer.text.endswith(HANDED["en"])


@pytest.mark.parametrize("given_back", [False, True])
async def test_what_a_dead_worker_left_when_it_was_taken_over_ends_with_what_was_shown(
    open_house: OpenHouse, given_back: bool
) -> None:
    first = await open_house(openai=Talker("word ", pace=0.05))
    desk, session = Desk(first), new_session(first.pipeline)
    turn = await first.ask_for_turn(session)
    await first.store.watch.until(lambda: [job for job in first.store.jobs if type(job).__name__ == "SavePartial"])
    await first.store.write(Release(session.uuid))  # which does nothing, and with it what was to be written before
    first.runner.abandon()
    await desk.take_over(session, "Ann")
    if given_back:
        await desk.hand_back(session, "Ann")
    second = await open_house(beside=first, openai=Echo())
    await second.take_over(first.worker)
    (answer,) = await first.audience.answers()
    assert answer.id == turn.id
    assert answer.outcome is Outcome.HANDED
    assert answer.text.startswith("word ")
    assert answer.text.endswith(HANDED["en"])


def _held(session: UUID) -> bool:
    row = ChatSession.objects.get(uuid=session)
    return row.held_since is not None
