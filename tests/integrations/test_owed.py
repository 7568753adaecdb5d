"""Which answers a socket is told."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from conversations.types import Role, StoredMessage
from integrations.owed import DOUBTS, UNNAMED, Owed


def message(role: Role = Role.ASSISTANT, **fields: Any) -> StoredMessage:
    told = {"id": 2, "question_id": 1, "reply_to": "me", **fields}
    return StoredMessage(
        session=uuid4(), session_type="person", seq=1, role=role, text="", timestamp=timezone.now(), **told
    )


async def is_settled(owed: Owed) -> bool:
    """Tell whether no question waits, by whether the wait for it is over at once."""
    return await is_over(owed.settled(60))


async def is_over(waiting: Coroutine[Any, Any, None]) -> bool:
    """Tell whether a wait is over before anything else happens."""
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled()


async def test_an_answer_is_told_once() -> None:
    owed = Owed()
    owed.ask("a")
    assert not await is_settled(owed)
    assert owed.answer(message(request_id="a"), "me")
    assert await is_settled(owed)
    assert not owed.answer(message(request_id="a"), "me")


@pytest.mark.parametrize(("request_id", "told"), [("a", True), (UNNAMED, False)])
async def test_an_answer_to_another_connection_is_ours_where_we_asked_for_it_by_name(
    request_id: str, told: bool
) -> None:
    owed = Owed()
    owed.ask(request_id)
    assert owed.answer(message(request_id=request_id, reply_to="an earlier socket"), "me") is told


async def test_asked_twice_under_one_id_is_settled_by_one_answer() -> None:
    owed = Owed()
    owed.ask("a")
    owed.ask("a")
    assert owed.answer(message(request_id="a"), "me")
    assert await is_settled(owed)


async def test_a_refusal_of_the_same_id_leaves_the_first_question_waiting() -> None:
    owed = Owed()
    owed.ask("a")
    owed.ask("a")
    owed.refuse("a")
    assert not await is_settled(owed)
    assert owed.answer(message(request_id="a"), "me")


async def test_questions_without_an_id_are_counted() -> None:
    owed = Owed()
    for number in (1, 3):
        owed.ask(UNNAMED)
        owed.store(message(Role.USER, id=number))
    assert owed.answer(message(), "me")
    assert not await is_settled(owed)
    assert owed.answer(message(), "me")
    assert await is_settled(owed)


async def test_what_was_said_is_stored_once_each_of_it_is_told_or_refused() -> None:
    owed = Owed()
    for name in ("a", UNNAMED, "b"):
        owed.ask(name)
    owed.store(message(Role.USER, id=1, request_id="a"))
    owed.store(message(Role.USER, id=3))
    assert not await is_over(owed.stored(60))
    owed.refuse("b")
    assert await is_over(owed.stored(60))
    assert not await is_settled(owed), "two answers are to come"


async def test_words_that_want_no_answer_are_settled_once_they_are_stored() -> None:
    owed = Owed()
    owed.ask("a", wants_answer=False)
    assert not owed.is_waiting("a")
    assert not await is_settled(owed)
    owed.store(message(Role.USER, id=1, request_id="a"))
    assert await is_settled(owed)


async def test_a_wait_is_bounded() -> None:
    owed = Owed()
    owed.ask("a")
    await owed.stored(0)
    await owed.settled(0)


async def test_a_stored_question_is_known_by_its_id_until_it_is_answered() -> None:
    owed = Owed()
    owed.ask("a")
    owed.ask("b", wants_answer=False)
    owed.store(message(Role.USER, id=3, request_id="b"))
    assert owed.request_of(3) is None, "nothing is to come of it"
    owed.store(message(Role.USER, id=1, request_id="a"))
    assert owed.request_of(1) == "a"
    assert owed.request_of(None) is None
    owed.answer(message(request_id="a"), "me")
    assert owed.request_of(1) is None


async def test_answers_that_overtake_their_acknowledgements_are_noticed() -> None:
    owed = Owed()
    assert owed.unacknowledged(message(request_id="a")) == 0, "not ours"
    for name in ("a", "a", "a", UNNAMED):
        owed.ask(name)
    assert owed.unacknowledged(message(request_id="a")) == 3
    assert owed.unacknowledged(message()) == 0
    owed.store(message(Role.USER, id=1, request_id="a"))
    assert owed.unacknowledged(message(request_id="a")) == 2
    owed.answer(message(request_id="a"), "me")
    assert owed.unacknowledged(message(request_id="a")) == 0
    assert not owed.is_waiting("a")


async def test_a_question_in_doubt_is_owed_an_answer_and_not_waited_for() -> None:
    owed = Owed()
    for name in ("a", UNNAMED):
        owed.ask(name)
        owed.doubt(name)
    assert await is_settled(owed)
    owed.store(message(Role.USER, id=1, request_id="a"))
    owed.store(message(Role.USER, id=3))
    assert not await is_settled(owed), "both turned out stored: two answers are to come"
    assert owed.answer(message(request_id="a"), "me")
    assert owed.answer(message(), "me")
    assert await is_settled(owed)


async def test_a_doubt_takes_nothing_from_the_next_question() -> None:
    owed = Owed()
    owed.ask(UNNAMED)
    owed.doubt(UNNAMED)
    owed.ask(UNNAMED)
    assert not await is_over(owed.stored(60))
    owed.store(message(Role.USER, id=1))
    assert await is_over(owed.stored(60))
    assert not await is_settled(owed)
    assert owed.answer(message(), "me")
    assert await is_settled(owed)


async def test_an_id_in_doubt_that_is_sent_again_is_settled_by_its_answer() -> None:
    owed = Owed()
    owed.ask("a")
    owed.doubt("a")
    owed.ask("a")
    assert not await is_settled(owed)
    assert owed.answer(message(request_id="a"), "me")
    assert await is_settled(owed)
    owed.ask("a")
    assert not await is_settled(owed), "nothing of the doubt is left"


async def test_of_too_many_doubts_the_oldest_counts_as_not_stored() -> None:
    owed = Owed()
    for number in range(DOUBTS + 1):
        owed.ask(f"q{number}")
        owed.doubt(f"q{number}")
    assert not owed.is_waiting("q0")
    assert owed.is_waiting("q1")
    assert owed.is_waiting(f"q{DOUBTS}")
    assert await is_settled(owed)
