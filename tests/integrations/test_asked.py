"""Which answers a socket is told."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from conversations.types import Role, StoredMessage
from integrations.asked import UNNAMED, Asked


def message(role: Role = Role.ASSISTANT, **fields: Any) -> StoredMessage:
    told = {"id": 2, "question_id": 1, "reply_to": "me", **fields}
    return StoredMessage(
        session=uuid4(), session_type="person", seq=1, role=role, text="", timestamp=timezone.now(), **told
    )


async def is_settled(asked: Asked) -> bool:
    """Tell whether no question waits, by whether the wait for it is over at once."""
    return await is_over(asked.settled(60))


async def is_over(waiting: Coroutine[Any, Any, None]) -> bool:
    """Tell whether a wait is over before anything else happens."""
    task = asyncio.create_task(waiting)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled()


async def test_an_answer_is_told_once() -> None:
    asked = Asked()
    asked.ask("a")
    assert not await is_settled(asked)
    assert asked.answer(message(request_id="a"), "me")
    assert await is_settled(asked)
    assert not asked.answer(message(request_id="a"), "me")


@pytest.mark.parametrize(("request_id", "told"), [("a", True), (UNNAMED, False)])
async def test_an_answer_to_another_connection_is_ours_where_we_asked_for_it_by_name(
    request_id: str, told: bool
) -> None:
    asked = Asked()
    asked.ask(request_id)
    assert asked.answer(message(request_id=request_id, reply_to="an earlier socket"), "me") is told


async def test_asked_twice_under_one_id_is_settled_by_one_answer() -> None:
    asked = Asked()
    asked.ask("a")
    asked.ask("a")
    assert asked.answer(message(request_id="a"), "me")
    assert await is_settled(asked)


async def test_a_refusal_of_the_same_id_leaves_the_first_question_waiting() -> None:
    asked = Asked()
    asked.ask("a")
    asked.ask("a")
    asked.refuse("a")
    assert not await is_settled(asked)
    assert asked.answer(message(request_id="a"), "me")


async def test_questions_without_an_id_are_counted() -> None:
    asked = Asked()
    for number in (1, 3):
        asked.ask(UNNAMED)
        asked.store(message(Role.USER, id=number))
    assert asked.answer(message(), "me")
    assert not await is_settled(asked)
    assert asked.answer(message(), "me")
    assert await is_settled(asked)


async def test_what_was_said_is_stored_once_each_of_it_is_told_or_refused() -> None:
    asked = Asked()
    for name in ("a", UNNAMED, "b"):
        asked.ask(name)
    asked.store(message(Role.USER, id=1, request_id="a"))
    asked.store(message(Role.USER, id=3))
    assert not await is_over(asked.stored(60))
    asked.refuse("b")
    assert await is_over(asked.stored(60))
    assert not await is_settled(asked), "two answers are to come"


async def test_words_that_want_no_answer_are_settled_once_they_are_stored() -> None:
    asked = Asked()
    asked.ask("a", wants_answer=False)
    assert not asked.is_waiting("a")
    assert not await is_settled(asked)
    asked.store(message(Role.USER, id=1, request_id="a"))
    assert await is_settled(asked)


async def test_a_wait_is_bounded() -> None:
    asked = Asked()
    asked.ask("a")
    await asked.stored(0)
    await asked.settled(0)


async def test_a_stored_question_is_known_by_its_id_until_it_is_answered() -> None:
    asked = Asked()
    asked.store(message(Role.USER, id=1, request_id="a"))
    assert asked.request_of(1) == "a"
    assert asked.request_of(None) is None
    asked.answer(message(request_id="a"), "me")
    assert asked.request_of(1) is None


async def test_an_answer_that_overtakes_its_acknowledgement_is_noticed() -> None:
    asked = Asked()
    assert not asked.is_unacknowledged(message(request_id="a")), "not ours"
    asked.ask("a")
    asked.ask(UNNAMED)
    assert asked.is_unacknowledged(message(request_id="a"))
    assert not asked.is_unacknowledged(message())
    asked.store(message(Role.USER, id=1, request_id="a"))
    assert not asked.is_unacknowledged(message(request_id="a"))
    asked.answer(message(request_id="a"), "me")
    assert not asked.is_waiting("a")
