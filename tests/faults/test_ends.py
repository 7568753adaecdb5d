"""Every question ends once, whatever comes between: its worker's death, or a person who takes over (R4)."""

import asyncio
import time

import pytest

from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.places import start_at
from tests.faults.questions import WIRES, Asked
from tests.support.server import GatewayProcess
from tests.support.staff import Staff


async def _ends(gateway: GatewayProcess, questions: list[Asked]) -> None:
    """Wait for every end; there is one of each."""
    ends = await asyncio.gather(*(question.ends() for question in questions))
    assert dict(zip((type(question).__name__ for question in questions), ends, strict=True)) == {
        wire.__name__: 1 for wire in WIRES
    }
    await asyncio.gather(*(question.leave() for question in questions))
    for what in (truth.OPEN, truth.UNANSWERED, truth.ANSWERED_TWICE):
        assert truth.count(gateway, what) == 0


@pytest.mark.promise("R4")
@pytest.mark.timeout(at_length(120, 1800))
async def test_a_question_whose_only_worker_dies_ends_for_who_comes_back(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    rounds, seconds = at_length(1, 20), []
    with model_in_thread() as model:
        gateway = start_at(start_gateway, "SQLite", model=model.base_url())
        for _ in range(rounds):
            model.mode = Mode.STALL
            questions = [wire(gateway, model) for wire in WIRES]
            await asyncio.gather(*(question.ask() for question in questions))
            began = time.monotonic()
            await asyncio.to_thread(gateway.restart)
            model.mode = Mode.OK
            await asyncio.gather(*(question.come_back() for question in questions))
            await _ends(gateway, questions)
            seconds.append(time.monotonic() - began)
    figure = (
        f"{rounds * len(WIRES)} of {rounds * len(WIRES)} on five wires whose only worker was killed in the midst of the"
        f" answer, {max(seconds):.1f} s later at most, its start included"
    )
    measured("R4", on="SQLite", figure=figure, holds=max(seconds) <= 30)


@pytest.mark.promise("R4")
@pytest.mark.timeout(at_length(120, 1800))
async def test_a_question_that_a_person_takes_over_ends_once(start_gateway: GatewayFactory, measured: Measured) -> None:
    rounds, seconds = at_length(1, 10), []
    with model_in_thread(Mode.STALL) as model:
        gateway = start_at(start_gateway, "SQLite", model=model.base_url())
        staff = await asyncio.to_thread(Staff, gateway)
        for _ in range(rounds):
            questions = [wire(gateway, model) for wire in WIRES]
            await asyncio.gather(*(question.ask() for question in questions))
            began = time.monotonic()
            for question in questions:
                await asyncio.to_thread(staff.post, f"/admin/desk/{question.session}/take/")
            await _ends(gateway, questions)
            seconds.append(time.monotonic() - began)
        staff.close()
    figure = (
        f"{rounds * len(WIRES)} of {rounds * len(WIRES)} on five wires that a person took over in the midst of the"
        f" answer, within {max(seconds):.1f} s"
    )
    measured("R4", on="SQLite", figure=figure, holds=max(seconds) <= 30)
