"""The same question under the same id, in every way that it may come again, is answered once (R3)."""

import asyncio
import sqlite3
from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.askers import Asker, PipelineAsker, WeChatAsker, YishitingAsker
from tests.faults.conftest import Measured
from tests.faults.measuring import Place, at_length
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.faults.places import PLACES, start_at

AT_ONCE = at_length(10, 20)
ROUNDS = at_length(1, 50)
WIRES: tuple[type[Asker], ...] = (PipelineAsker, WeChatAsker, YishitingAsker)
FIRST, OTHER = "How much is it?", "And how long?"


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that takes its time over each word."""
    with model_in_thread(Mode.SLOW) as model:
        yield model


@pytest.mark.promise("R3")
@pytest.mark.timeout(at_length(120, 1800))
@pytest.mark.parametrize("place", PLACES)
async def test_one_id_is_one_question_at_once_in_turn_after_a_kill_and_a_day_later(
    start_gateway: GatewayFactory, model: FakeModel, measured: Measured, place: Place
) -> None:
    gateway = start_at(start_gateway, place, model=model.base_url())
    before = len(model.calls)
    askers: list[Asker] = []
    answers: list[str] = []
    for _ in range(ROUNDS):
        for wire in WIRES:
            asker = wire(gateway)
            await asker.enter()
            replies = await asyncio.gather(*(asker.ask(FIRST, "first") for _ in range(AT_ONCE)))
            replies += [await asker.ask(FIRST, "first") for _ in range(2)]
            assert len(set(replies)) == 1, f"the same answer to all on {wire.wire}"
            assert await asker.refusal(OTHER, "first") == asker.refused
            await asker.ask(OTHER, "second")
            askers.append(asker)
            answers.append(replies[0])
    truth.let_pass(gateway, 23)
    gateway.restart()  # which clears away what is too old
    assert [await asker.ask(FIRST, "first") for asker in askers] == answers
    assert [await asker.refusal(OTHER, "first") for asker in askers] == [asker.refused for asker in askers]
    assert len(model.calls) - before == 2 * len(askers), "one call for each id"
    assert len(truth.ask(gateway, truth.SAID)) == 2 * len(askers), "stored once"
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)):  # no cache, no chance
        truth.ask(gateway, "UPDATE conversations_message SET client_msg_id = 'x' WHERE role = 'user' RETURNING id")
    truth.let_pass(gateway, 2)
    for asker in askers:
        await asker.ask(OTHER, "first")
    assert len(model.calls) - before == 3 * len(askers), "after a day the id is free"
    gateway.close()
    calls = (AT_ONCE + 3) * len(askers)
    figure = (
        f"{calls:,} times asked under {len(askers)} ids on three wires ({AT_ONCE} at once, in turn, after a kill,"
        f" 23 h later): {len(askers)} model calls, {len(askers)} stored, the same answer to each; another body refused"
    )
    measured("R3", on=place, figure=figure)
