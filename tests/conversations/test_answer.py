"""An answer as it grows, told in deltas and noted."""

import asyncio
from itertools import pairwise

import pytest

from conversations.jobs import SavePartial
from conversations.types import MessageStored, ReplyDelta
from tests.conversations.doubles import ScriptedResponder, Talker, new_session, texts
from tests.conversations.houses import OpenHouse


async def test_without_streaming_there_is_one_final_only(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("One ", "two"))
    await house.ask(new_session(house.pipeline), stream=False)
    assert texts(await house.audience.answers()) == ["One two"]
    assert [type(event) for event in house.audience.events] == [MessageStored, MessageStored]


async def test_deltas_come_at_most_once_an_interval_and_grow(open_house: OpenHouse) -> None:
    talker = Talker("ha", pace=0.002)
    house = await open_house(openai=talker, interval=0.05)
    await house.ask(new_session(house.pipeline))
    await house.audience.until(lambda: len(house.audience.deltas()) >= 6)
    talker.enough.set()
    (answer,) = await house.audience.answers()
    times = [
        at
        for at, event in zip(house.audience.times, house.audience.events, strict=True)
        if isinstance(event, ReplyDelta)
    ]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.045
    deltas = house.audience.deltas()
    assert all(later.startswith(earlier) and later != earlier for earlier, later in pairwise(deltas))
    assert answer.text == "ha" * talker.said
    assert talker.said > len(deltas)


async def test_what_came_within_the_interval_is_told_when_it_is_over(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("One ", "two ", "three", asyncio.Event()), interval=0.05)
    await house.ask(new_session(house.pipeline))
    await house.audience.until(lambda: len(house.audience.deltas()) == 2)
    assert house.audience.deltas() == ["One ", "One two three"]


async def test_nothing_is_told_after_the_end(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("One ", "two"), interval=0.001)
    for _ in range(10):
        await house.ask(new_session(house.pipeline))
    await house.audience.answers(10)
    ended: set[int] = set()
    for event in house.audience.events:
        if isinstance(event, ReplyDelta):
            assert event.id not in ended
        elif isinstance(event, MessageStored):
            ended.add(event.message.id)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_growing_answer_is_noted_for_the_case_of_a_crash(open_house: OpenHouse, stream: bool) -> None:
    talker = Talker("ha", pace=0.05)
    house = await open_house(openai=talker)
    turn = await house.ask_for_turn(new_session(house.pipeline), stream=stream)
    await house.store.given(SavePartial)
    # Whatever is written after it is acknowledged after it.
    await house.ask(new_session(house.pipeline), wants_answer=False)
    assert (await house.row(turn.id)).partial.startswith("haha")
    talker.enough.set()
    await house.audience.answers()
    assert (await house.row(turn.id)).partial == ""
