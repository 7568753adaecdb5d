"""kill -9 under load, again and again: nothing acknowledged is lost, every question ends once (R1, R4, R5)."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import Place, at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.visitors import WIRES, HubVisitor, PipelineVisitor, Visitor
from tests.support.databases import PostgresServer
from tests.support.postoffice import HubClient
from tests.support.rest import history
from tests.support.server import GatewayProcess, Templates
from tests.support.waiting import wait_until

KILLS = at_length({"SQLite": 2, "PostgreSQL": 2}, {"SQLite": 100, "PostgreSQL": 100})
ACKNOWLEDGED = at_length(1, 10_000)
A_ROUND = at_length((20, 60), (80, 160))  # so many acknowledgements until the next kill
OF_EACH_WIRE = 2  # visitors
SETTINGS = {"RATE_LIMITS": "off", "MAILBOX_LETTERS": "100000"}


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[tuple[PostgresServer, str]]:
    """A PostgreSQL that syncs what it commits, and the URL of a prepared database there."""
    server = PostgresServer(durable=True)
    server.start()
    yield server, Templates(tmp_path / "templates").copy_postgres(server, with_model=True)
    server.close()


async def _load_until(
    disaster: Callable[[], None], gateway: GatewayProcess, visitors: list[Visitor], wanted: int
) -> None:
    """Have everybody talk until so much more is acknowledged, then break something, then kill the gateway."""
    wanted += _acknowledged(visitors)
    talking = [asyncio.create_task(visitor.talk(gateway)) for visitor in visitors]
    while _acknowledged(visitors) < wanted or not all(visitor.acknowledged for visitor in visitors):
        await asyncio.sleep(0.005)  # the visitors work in this loop; the moment of death is to be any moment
        assert not all(task.done() for task in talking), "the gateway died by itself"
    await asyncio.to_thread(disaster)
    await asyncio.to_thread(gateway.kill)
    await asyncio.gather(*talking)


def _acknowledged(visitors: list[Visitor]) -> int:
    letters = sum(len(visitor.letters) for visitor in visitors if isinstance(visitor, HubVisitor))
    return letters + sum(len(visitor.acknowledged) for visitor in visitors)


@pytest.mark.promise("R1", "R4", "R5")
@pytest.mark.timeout(at_length(120, 7200))
@pytest.mark.parametrize("place", ["SQLite", "PostgreSQL"])
async def test_nothing_acknowledged_is_lost_and_every_question_ends_once(
    start_gateway: GatewayFactory, request: pytest.FixtureRequest, measured: Measured, place: Place
) -> None:
    chance = random.Random(4)
    visitors = [wire() for wire in WIRES for _ in range(OF_EACH_WIRE)]
    kills = crashes = 0
    with model_in_thread() as model:
        server, url = request.getfixturevalue("durable") if place == "PostgreSQL" else (None, "")
        gateway = start_gateway(
            model=model.base_url(Mode.SLOW), environment=SETTINGS, **({"database_url": url} if url else {})
        )

        def crash() -> None:
            nonlocal crashes
            if server is not None and kills % 4 == 1:  # the database's own crash, with the gateway at work
                server.stop(immediately=True)
                server.start()
                crashes += 1

        for visitor in visitors:
            if isinstance(visitor, HubVisitor):
                await visitor.introduce_friend(gateway)
        while kills < KILLS[place] or _acknowledged(visitors) < ACKNOWLEDGED:
            await _load_until(crash, gateway, visitors, chance.randint(*A_ROUND))
            kills += 1
            gateway.start()
        began = time.monotonic()
        # What the last worker left is taken over at once: its lock told that it died.
        await asyncio.to_thread(
            wait_until, lambda: truth.count(gateway, truth.OPEN) == 0, timeout=90, what="the end of every turn"
        )
        seconds = time.monotonic() - began
        await _check(gateway, visitors)
        questions = truth.count(gateway, "SELECT count(*) FROM conversations_turn")
        gateway.close()
    broken = f"{kills} kills" + (f" and {crashes} crashes of the database" if crashes else "")
    measured("R1", on=place, figure=f"0 lost of {_acknowledged(visitors):,} over {broken}, on five wires")
    figure = f"{questions:,} of {questions:,} over {broken}, the last {seconds:.1f} s after the start"
    measured("R4", on=place, figure=figure, holds=seconds <= 30)
    measured("R5", on=place, figure=f"0 gaps over {broken}")


async def _check(gateway: GatewayProcess, visitors: list[Visitor]) -> None:
    """Compare what was acknowledged with what there is."""
    assert truth.count(gateway, truth.UNANSWERED) == 0
    assert truth.count(gateway, truth.ANSWERED_TWICE) == 0
    assert truth.count(gateway, truth.WITH_GAPS) == 0
    said = Counter(text for (text,) in truth.ask(gateway, truth.SAID))
    assert max(said.values()) == 1, "once each"
    for visitor in visitors:
        assert not set(visitor.acknowledged) - said.keys(), f"lost on {visitor.wire}"
        if isinstance(visitor, PipelineVisitor):
            told = history(gateway, query=f"?session_id={visitor.session['session_id']}&limit=500")
            seqs = [message["seq"] for message in told]
            assert seqs == list(range(seqs[0], seqs[-1] + 1))
        if isinstance(visitor, HubVisitor):
            async with await HubClient.connect(gateway, visitor.friend) as friend:
                letters = [letter["content"] for letter in await friend.until_silent()]
            assert len(letters) == len(set(letters))
            assert [letter for letter in letters if letter in set(visitor.letters)] == visitor.letters, "lost letters"
