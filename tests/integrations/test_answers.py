"""An answer followed to its end: told in increments, stopped by the last who leaves, cut in time, never lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import msgspec
import pytest
from channels.layers import InMemoryChannelLayer

from connections.hub import Hub
from conversations import phrases
from conversations.jobs.questions import QueueFull
from conversations.types import (
    Accepted,
    MessageStored,
    Outcome,
    Question,
    ReplyDelta,
    Role,
    SessionTopic,
    StoredMessage,
    own_session,
)
from integrations.answers import Following, asked
from integrations.parts import Parts
from tests.connections.doubles import Recorder
from tests.conversations.doubles import Watch

SESSION = own_session(UUID(int=1), "test", "somebody")
QUESTION = Question(SESSION, "test", "How?", client_msg_id="m", retry_failed=True)
NOW = datetime.now(UTC)
PATIENCE = 5.0


def stored(id_: int, text: str, role: Role = Role.ASSISTANT, **more: Any) -> StoredMessage:
    return StoredMessage(
        id=id_, session=SESSION.uuid, session_type="person", seq=id_, role=role, text=text, timestamp=NOW, **more
    )


class House:
    """A hub, and in place of store and turns a script: which answer each question gets."""

    def __init__(self) -> None:
        self.hub = Hub(InMemoryChannelLayer(), cast(Any, None), shared=False, fill=_nothing, latest=cast(Any, None))
        self.turns = self.store = self
        self.happened = Watch()
        self.looks = 0
        self.asked: list[Question] = []
        self.given_up: list[tuple[int, Outcome]] = []
        self.database: dict[int, StoredMessage] = {}
        self.accepting: list[asyncio.Future[Accepted]] = []
        self.at_once = True  # questions are accepted as they come
        self.others = 0  # who wait for every answer beside

    @property
    def parts(self) -> Parts:
        return cast(Parts, self)

    def ask(self, question: Question) -> "asyncio.Future[Accepted]":
        self.asked.append(question)
        self.happened.note()
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self.accepting.append(future)
        if self.at_once:
            future.set_result(accepted(2 * len(self.asked)))
        return future

    def give_up(self, session: UUID, turn: int, outcome: Outcome) -> "asyncio.Future[bool]":
        assert session == SESSION.uuid
        self.given_up.append((turn, outcome))
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(not self.others)
        self.happened.note()
        return future

    def followed(self, break_off: Callable[[Exception], None]) -> AbstractContextManager[None]:
        return nullcontext()

    async def read(self, function: Callable[..., Any], id_: int) -> StoredMessage | None:
        self.looks += 1
        self.happened.note()
        await asyncio.sleep(0)
        return self.database.get(id_)

    def say(self, id_: int, text: str) -> None:
        self.hub.publish(SessionTopic(SESSION.uuid), ReplyDelta(id_, "person", text, NOW))

    def end(self, id_: int, text: str, outcome: Outcome = Outcome.ANSWERED) -> None:
        self.hub.publish(SessionTopic(SESSION.uuid), MessageStored(stored(id_, text, outcome=outcome)))


async def _nothing(topic: Any, after: int) -> list[Any]:
    return []


def accepted(id_: int, **more: Any) -> Accepted:
    return Accepted(stored(id_ - 1, QUESTION.text, Role.USER), answer_id=id_, **more)


@pytest.fixture
def house() -> House:
    return House()


def soon() -> float:
    return asyncio.get_running_loop().time() + PATIENCE


async def following(house: House, stack: AsyncExitStack, question: Question = QUESTION) -> Following:
    return await stack.enter_async_context(asked(house.parts, question))


async def rest_of(texts: AsyncIterator[str]) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        return [text async for text in texts]


async def test_an_answer_is_told_in_increments(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        texts = answer.texts(soon())
        house.say(2, "One")
        assert await anext(texts) == "One"
        house.say(99, "of another question")
        house.say(2, "One two")
        assert await anext(texts) == " two"
        assert not answer.is_over()
        house.end(2, "One two three")
        assert await anext(texts) == " three"
        assert answer.is_over()
        assert await rest_of(texts) == []
        assert answer.answer == stored(2, "One two three", outcome=Outcome.ANSWERED)
    assert house.given_up == []


async def test_an_empty_answer_has_no_increment(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        house.end(2, "")
        assert await rest_of(answer.texts(soon())) == []
        assert answer.is_over()


async def test_an_answer_that_was_given_before_is_told_at_once(house: House) -> None:
    house.at_once = False
    async with AsyncExitStack() as stack:
        asking = asyncio.create_task(following(house, stack))
        await asyncio.sleep(0)
        house.accepting[0].set_result(accepted(2, duplicate=True, answer=stored(2, "Stored", outcome=Outcome.ANSWERED)))
        assert await rest_of((await asking).texts(soon())) == ["Stored"]
    assert house.given_up == []


async def test_an_end_that_does_not_continue_what_was_told_is_told_whole(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        texts = answer.texts(soon())
        house.say(2, "One two")
        assert await anext(texts) == "One two"
        house.say(2, "Other words, and more of them")  # a turn that another worker runs anew
        house.end(2, "Other words")
        assert await rest_of(texts) == ["\n\nOther words"]


async def test_who_leaves_before_the_end_gives_the_answer_up_once(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        house.say(2, "One")
        assert await anext(answer.texts(soon())) == "One"
    assert house.given_up == [], "he may have lost his connection, and come again"
    await house.happened.until(lambda: house.given_up)
    assert house.given_up == [(2, Outcome.STOPPED)]


async def test_who_did_not_name_his_question_cannot_come_back_to_it(house: House) -> None:
    async with AsyncExitStack() as stack:
        await following(house, stack, msgspec.structs.replace(QUESTION, client_msg_id=None))
        await stack.aclose()
        assert house.given_up == [(2, Outcome.STOPPED)]


async def test_one_who_leaves_while_he_asks_stops_what_he_asked(house: House) -> None:
    house.at_once = False
    async with AsyncExitStack() as stack:
        asking = asyncio.create_task(following(house, stack))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert house.given_up == []
        house.accepting[0].set_result(accepted(2))
        await house.happened.until(lambda: house.given_up)
    assert house.given_up == [(2, Outcome.STOPPED)]


async def test_one_who_leaves_before_he_is_refused_is_told_nothing(house: House) -> None:
    house.at_once = False
    async with AsyncExitStack() as stack:
        asking = asyncio.create_task(following(house, stack))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        house.accepting[0].set_exception(QueueFull("too many"))
        await asyncio.sleep(0)
    assert house.given_up == []


async def test_at_its_time_an_answer_is_cut(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        texts = answer.texts(asyncio.get_running_loop().time() + 0.05)
        house.say(2, "One")
        assert await anext(texts) == "One"
        cutting = asyncio.create_task(rest_of(texts))
        await house.happened.until(lambda: house.given_up)
        house.end(2, f"One\n\n{phrases.CUT['en']}", Outcome.CUT)
        assert await cutting == [f"\n\n{phrases.CUT['en']}"]
    assert house.given_up == [(2, Outcome.CUT)]


@pytest.mark.parametrize(("said", "text"), [("One", f"One\n\n{phrases.CUT['en']}"), ("", phrases.CUT["en"])])
async def test_it_is_cut_also_where_nobody_hears_of_it(house: House, said: str, text: str) -> None:
    async with asked(house.parts, QUESTION) as answer:
        house.say(2, said)
        assert "".join(await rest_of(answer.texts(0))) == text
        assert answer.answer is not None
        assert answer.answer.outcome is Outcome.CUT


async def test_one_that_others_wait_for_goes_on_beyond_a_callers_time(house: House) -> None:
    house.others = 1
    async with asked(house.parts, QUESTION) as answer:
        house.say(2, "One")
        assert "".join(await rest_of(answer.texts(0))) == f"One\n\n{phrases.CUT['en']}"
    assert house.given_up == [(2, Outcome.CUT)]


async def test_an_answer_that_ended_just_in_time_is_told_whole(house: House) -> None:
    house.others = 1  # or over: nothing is left to be cut
    house.database[2] = stored(2, "The end", outcome=Outcome.ANSWERED)
    async with asked(house.parts, QUESTION) as answer:
        assert await rest_of(answer.texts(0)) == ["The end"]


async def test_an_end_that_comes_while_the_database_is_asked_is_kept(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        looking = asyncio.create_task(answer._look())
        await asyncio.sleep(0)
        house.end(2, "The end")
        await looking
        assert answer.is_over()


async def test_an_end_that_was_lost_is_read_from_the_database(house: House) -> None:
    async with asked(house.parts, QUESTION) as answer:
        house.database[2] = stored(2, "The end", outcome=Outcome.ANSWERED)
        await answer._look()
        assert await rest_of(answer.texts(soon())) == ["The end"]


async def test_what_of_an_answer_comes_after_its_end_is_told_to_nobody(house: House) -> None:
    told = Recorder()
    house.hub.join(SessionTopic(SESSION.uuid), told, lambda event: event).go_live(0)
    house.end(1, "All of it")
    house.say(1, "All")
    assert [type(event) for event in told.told] == [MessageStored]
