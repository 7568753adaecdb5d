"""An answer as it grows, told in deltas and noted."""

import asyncio
from itertools import pairwise

import pytest

from conversations import selectors
from conversations.jobs import SavePartial
from conversations.phrases import FALLBACK
from conversations.responders.base import ResponderError
from conversations.types import Citation, MessageStored, Reply, ReplyDelta, SourceLine
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


async def test_where_sources_are_named_is_known_as_it_grows_and_when_it_is_stored(open_house: OpenHouse) -> None:
    cited = (Citation("a", "s", "A", "", 2.0), Citation("b", "s", "B", "", 1.0))
    script = (
        "One.", SourceLine("\n\nSource: A", "a"), "\n\nSource: A\n\nTwo.", SourceLine("\n\nSource: B", "b"),
        SourceLine("\n\nSource: A › x", "a"), Reply(cited),
    )  # fmt: skip
    house = await open_house(openai=ScriptedResponder(ResponderError("away")), knowledge=ScriptedResponder(*script))
    await house.ask(new_session(house.pipeline))
    (answer,) = await house.audience.answers()
    words = [step for step in script if isinstance(step, str)]
    lead, said = FALLBACK["en"], "One.\n\nSource: A\n\nTwo."  # what is no SourceLine stays
    assert answer.text == f"{lead}{''.join(words)}"
    assert answer.text_beside_citations == f"{lead}{said}"
    assert [len(citation.named) for citation in answer.citations] == [2, 1]
    deltas = [event for event in house.audience.events if isinstance(event, ReplyDelta)]
    assert deltas[-1].text == answer.text
    assert deltas[-1].text_beside_citations == answer.text_beside_citations
    assert await house.store.read(selectors.message, answer.id) == answer, "also after a restart"


async def test_an_answer_that_cites_nothing_in_the_end_names_its_sources_in_words(open_house: OpenHouse) -> None:
    house = await open_house(openai=ScriptedResponder("One.", SourceLine("\n\nSource: A", "a"), ResponderError("away")))
    await house.ask(new_session(house.pipeline))
    (answer,) = await house.audience.answers()
    assert "Source: A" in answer.text_beside_citations
    assert answer.text_beside_citations == answer.text
