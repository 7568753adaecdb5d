"""More than can be taken: what is refused is told so at once, and what is admitted stays fast (R16)."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import InvalidStatus

from conversations.jobs import OPEN_TURNS
from conversations.store import CAPACITY
from tests.benchmarks.measuring import percentile
from tests.conftest import GatewayFactory, Serve
from tests.faults.conftest import Measured
from tests.faults.flood import flooding
from tests.faults.measuring import LONG, at_length
from tests.faults.model import Mode, in_mode, model_in_thread
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess

QUICK = 100 if LONG else 20  # questions that the model answers at once
PACED = 30 if LONG else 0  # and at the pace of a real one: the short version has no time for those
PACE = 0.025  # seconds before each of 20 words
FLOODERS = at_length(2, 4)
PLACES = 60
TIMES = 2  # the 99th percentile of what is admitted, at most, of that without overload
SETTINGS = {
    "MAX_CONNECTIONS": str(PLACES),
    "MAX_MESSAGES": "100",
    "MAX_CALLS_PER_ADDRESS": "120",
    "TRUSTED_PROXIES": "127.0.0.1",
    "ALLOW_OPEN_ACCESS": "true",
}


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that can be overloaded by a few clients."""
    with model_in_thread() as model:
        model.delay = PACE
        with serve(model=model.base_url(), **SETTINGS) as gateway:
            yield gateway


class Times(NamedTuple):
    """The 99th percentile of the seconds until a whole answer was there."""

    quick: float
    paced: float | None


async def answers(client: PipelineClient) -> Times:
    """Ask one question after another; tell how long the answers took."""
    quick = await _answers(client, Mode.OK, QUICK)
    return Times(quick, await _answers(client, Mode.SLOW, PACED) if PACED else None)


async def _answers(client: PipelineClient, mode: Mode, count: int) -> float:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await client.ask(in_mode(mode))
        seconds.append(time.perf_counter() - began)
    return percentile(seconds, 0.99)


def tell(measured: Measured, what: str, found: dict[str, Any], alone: Times, beside: Times) -> None:
    """Note what became of an overload, and whether it is what was promised."""
    shed = sum(found["refused"].values())
    kinds = zip(("at once", "in 0.5 s"), (QUICK, PACED), alone, beside, strict=True)
    for kind, count, without, within in kinds:
        if without is None or within is None:
            continue
        times = f"{without * 1000:.0f} ms without, {within * 1000:.0f} ms beside it"
        figure = f"{what}: {shed} turned away; p99 of {count} answers that the model gives {kind}: {times}"
        measured("R16", on="SQLite", figure=figure, holds=within <= TIMES * without)


@pytest.mark.promise("R16")
async def test_who_comes_when_all_places_are_taken_is_refused_and_the_others_are_served(
    gateway: GatewayProcess, measured: Measured
) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await PipelineClient.connect(gateway))
        with contextlib.suppress(InvalidStatus):
            while True:
                await stack.enter_async_context(await PipelineClient.connect(gateway))
        await client.ask("Warm up")
        alone = await answers(client)
        with flooding(gateway.ws_url, "knock", FLOODERS) as found:
            beside = await answers(client)
    unheard = found["refused"].pop("no answer", 0)  # a machine that is busy may be too slow to say what it wants
    assert found["refused"].keys() == {"503"}
    assert unheard < found["refused"]["503"] / 10 + 5
    assert found["waits"].keys() == {"5"}
    tell(measured, "connections beyond MAX_CONNECTIONS", found, alone, beside)


@pytest.mark.promise("R16")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("what", "kind"),
    [("ping", "messages beyond MAX_MESSAGES"), ("ask", f"more than {OPEN_TURNS} open questions")],
)
async def test_who_sends_more_than_he_may_is_refused_and_sent_away_and_the_others_are_served(
    gateway: GatewayProcess, measured: Measured, what: str, kind: str
) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("Warm up")
        alone = await answers(client)
        with flooding(gateway.ws_url, what, FLOODERS) as found:
            beside = await answers(client)
    assert found["refused"]["4129"] > 0
    assert found["refused"].keys() <= {"4129", "429"}  # by his address, when he comes again too often
    assert found["waits"]
    assert all(int(wait) > 0 for wait in found["waits"])
    tell(measured, kind, found, alone, beside)


@pytest.mark.promise("R16")
@pytest.mark.skipif(not LONG, reason="takes more messages than there is time for")
async def test_a_writer_that_has_no_room_for_more_refuses_it_and_loses_nothing(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    gateway = start_gateway(environment={"RATE_LIMITS": "off"})
    stored = full = 0
    frame = json.dumps({"type": "message", "message": [{"type": "Plain", "text": "x"}]})
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await PipelineClient.connect(gateway, "group", session_id=str(number)))
            for number in range(40)
        ]
        each = 2 * CAPACITY // len(clients)

        async def pour(client: PipelineClient) -> None:
            for _ in range(each):
                await client.send(frame)

        async def hear(client: PipelineClient) -> None:
            nonlocal stored, full
            for _ in range(each):
                heard = await client.recv(60)
                if heard["type"] == "user_message":
                    stored += 1
                else:
                    assert heard["retry_after"] == 1, heard
                    full += 1

        began = time.perf_counter()
        await asyncio.gather(*(pour(client) for client in clients), *(hear(client) for client in clients))
        seconds = time.perf_counter() - began
    assert stored + full == each * len(clients)
    words = f"{stored + full} messages at once: {stored} stored, {full} refused with retry_after, in {seconds:.1f} s"
    measured("R16", on="SQLite", figure=words)
