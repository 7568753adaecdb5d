"""Connections that break again and again: what was missed is replayed, in order, none twice (R2)."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from conversations.selectors import REPLAY_LIMIT
from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.followers import (
    LONG,
    ContactFollower,
    Follower,
    PipelineFollower,
    RoomFollower,
    WeChatFollower,
)
from tests.faults.measuring import Place, at_length
from tests.faults.model import WORDS, FakeModel, Mode, model_in_thread
from tests.faults.places import PLACES, start_at
from tests.faults.proxy import FaultyProxy
from tests.faults.visitors import ENDS
from tests.support.clients import PipelineClient
from tests.support.databases import ValkeyServer
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.yishiting import Stream, caller, events, question, text_of

CYCLES = at_length(30, 1000)
BREAKS = (0.05, 0.4)  # seconds between two
RATE = 3_000_000  # bytes in a second that a connection carries: a long frame is on its way for a while
STORED = """
    SELECT session.name, CAST(session.uuid AS TEXT), message.seq, message.role, message.text
    FROM conversations_message AS message
    JOIN conversations_chatsession AS session ON session.id = message.session_id ORDER BY message.seq
"""


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that takes its time over each word."""
    with model_in_thread(Mode.SLOW) as model:
        yield model


@contextlib.asynccontextmanager
async def going(*works: Any) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Have this going on as long as the block lasts; what failed meanwhile fails the test."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise ended


@pytest.mark.promise("R2")
@pytest.mark.timeout(at_length(120, 1800))
@pytest.mark.parametrize("place", PLACES)
async def test_who_comes_back_is_told_what_he_missed_in_order_and_none_twice(
    start_gateway: GatewayFactory, model: FakeModel, measured: Measured, place: Place
) -> None:
    chance = random.Random(2)
    gateway = start_at(start_gateway, place, model=model.base_url())
    with FaultyProxy(gateway.port) as proxy:
        proxy.throttle(RATE)
        followers: list[Follower] = [
            kind(gateway, proxy)
            for kind in (RoomFollower, RoomFollower, PipelineFollower, ContactFollower, WeChatFollower)
        ]

        async def are_talking() -> bool:
            return all(follower.session for follower in followers)

        async def have_caught_up() -> bool:
            if truth.count(gateway, truth.OPEN):
                return False
            return all(follower.last_seq == _stored(gateway, follower)[-1][0] for follower in followers)

        async with going(*(follower.talk() for follower in followers)) as talking:
            await eventually(are_talking, timeout=30, what="everybody's session")
            async with going(*(follower.follow() for follower in followers)) as following:
                while sum(follower.resumes for follower in followers) < CYCLES:
                    await asyncio.sleep(chance.uniform(*BREAKS))  # a break comes at any moment
                    await asyncio.to_thread(proxy.cut)
                    assert not any(task.done() for task in (*talking, *following))
                for task in talking:
                    task.cancel()
                await asyncio.wait(talking)
                await eventually(have_caught_up, timeout=30, what="what was said last")
        for follower in followers:
            _compare(gateway, follower)
    measured("R2", on=place, figure=_figure(followers))


def _figure(followers: list[Follower]) -> str:
    resumes = sum(follower.resumes for follower in followers)
    told = sum(len(follower.seqs) for follower in followers)
    reloads = sum(follower.reloads for follower in followers)
    return (
        f"0 missed, 0 twice, 0 out of order of {told:,} messages over {resumes:,} resumes on three wires"
        f" ({reloads} were told `resumed:false`)"
    )


def _stored(gateway: GatewayProcess, follower: Follower) -> list[tuple[int, str, str]]:
    """Return `seq`, role and text of all that a follower's session has."""
    return [
        (seq, role, text)
        for name, uuid, seq, role, text in truth.ask(gateway, STORED)
        if follower.session == name or follower.session.replace("-", "") == uuid.replace("-", "")
    ]


def _compare(gateway: GatewayProcess, follower: Follower) -> None:
    """Compare what a follower was told with what there is."""
    stored = _stored(gateway, follower)
    kind = type(follower).__name__
    assert follower.seqs == sorted(set(follower.seqs)), f"{kind}: in order, and none twice"
    is_whole = isinstance(follower, PipelineFollower)  # on the others a visitor is not told what he said himself
    wanted = {seq for seq, role, _ in stored if is_whole or role == "assistant"}
    assert not wanted - set(follower.seqs), f"{kind}: missed"
    if not isinstance(follower, RoomFollower):
        assert follower.answers == {seq: text for seq, role, text in stored if role == "assistant"}, kind


@pytest.mark.promise("R2")
async def test_three_hundred_are_replayed_in_a_second_twice_in_a_row_and_more_are_refused(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    gateway, room, newest = start_gateway(environment={"RATE_LIMITS": "off"}), uuid4().hex, REPLAY_LIMIT + 1
    async with await PipelineClient.connect(gateway, "group", session_id=room) as talker:
        for number in range(newest):
            await talker.say(f"word {number}")
        await _seqs(talker, newest)
    seconds = []
    for _ in range(at_length(1, 50)):
        began = time.monotonic()
        async with await PipelineClient.connect(gateway, "group", session_id=room, last_seq=1) as client:
            assert (await client.recv())["resumed"]
            assert await _seqs(client, newest) == list(range(2, newest + 1))
            seconds.append(time.monotonic() - began)
            for _ in range(2):
                await client.send({"type": "resume", "last_seq": 1})
                assert (await client.recv())["resumed"]
                assert await _seqs(client, newest) == list(range(2, newest + 1))
            await client.send({"type": "resume", "last_seq": 0})
            assert await client.recv() == {"type": "resumed", "resumed": False, "last_seq": newest}
            assert await client.recv_after_ping() == []
    figure = (
        f"{REPLAY_LIMIT} messages in {max(seconds):.2f} s at most, of {len(seconds)} resumes; one more: `resumed:false`"
    )
    measured("R2", on="SQLite", figure=figure, holds=max(seconds) <= 1)


async def _seqs(client: PipelineClient, last: int) -> list[int]:
    """Return the `seq` of what a client is told, up to and with the `last`."""
    frames = await client.until(lambda frame: frame["data"]["seq"] == last, 60)
    return [frame["data"]["seq"] for frame in frames]


@pytest.mark.promise("R2")
async def test_a_caller_whose_stream_breaks_comes_back_to_his_answer_by_its_id(
    start_gateway: GatewayFactory, model: FakeModel, measured: Measured
) -> None:
    gateway = start_at(start_gateway, "SQLite", model=model.base_url())
    bodies = [question("How long is it?", session_id=str(number)) for number in range(at_length(3, 50))]
    before = len(model.calls)
    with FaultyProxy(gateway.port) as proxy:
        for body in bodies:
            async with Stream(proxy, body) as stream:
                await stream.until(b"tok03")
                await asyncio.to_thread(proxy.cut)
            for _ in range(2):  # joins the running answer, then finds the one that is stored
                async with caller(gateway) as client:
                    found = events((await client.post("/chat", json=body)).content)
                assert text_of(found) == "".join(WORDS)
                assert found[-1]["global_output"]["answer_success"] == 1
    assert len(model.calls) - before == len(bodies)
    gateway.restart()
    async with caller(gateway) as client:
        assert text_of(events((await client.post("/chat", json=bodies[-1])).content)) == "".join(WORDS)
    assert len(model.calls) - before == len(bodies), "stored answers outlive the process"
    assert [stored for (stored,) in truth.ask(gateway, truth.SAID)] == ["How long is it?"] * len(bodies)
    measured(
        "R2",
        on="SQLite",
        figure=f"streams that break, called again by `msg_id`: {len(bodies)} model calls for {len(bodies)} questions",
    )


@pytest.mark.promise("R2")
async def test_letters_reach_a_client_whose_connection_breaks(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    gateway = start_gateway(environment={"RATE_LIMITS": "off", "MAILBOX_LETTERS_CONNECTED": "100000"})
    letters, chance = at_length(600, 20_000), random.Random(3)
    got: list[int] = []
    with FaultyProxy(gateway.port) as proxy:
        proxy.throttle(RATE)

        async def read() -> None:
            while True:
                with contextlib.suppress(*ENDS):
                    async with await HubClient.connect(proxy.ws_url, "reader") as client:
                        while True:
                            letter = await client.recv(60)
                            if letter["from"] == "writer":  # not what the reader wrote to itself, which may come again
                                got.append(letter["content"]["number"])

        async def write() -> None:
            async with await HubClient.connect(gateway, "writer") as client:
                for number in range(letters):
                    await client.write("reader", {"number": number, "text": LONG if number % 20 == 0 else ""})
                    await asyncio.sleep(0.002)  # so that breaks come between

        async def has_the_last() -> bool:
            return letters - 1 in got

        async with await HubClient.connect(gateway, "reader") as client:
            await client.until_silent()  # known from now on
        async with going(read()):
            writing = asyncio.create_task(write())
            breaks = 0
            while not writing.done():
                await asyncio.sleep(chance.uniform(*BREAKS))  # a break comes at any moment
                await asyncio.to_thread(proxy.cut)
                breaks += 1
            await writing
            await eventually(has_the_last, timeout=30, what="the last letter")
    first = list(dict.fromkeys(got))
    assert first == list(range(letters)), "all of them, in order"
    figure = (
        f"hub: 0 lost, 0 out of order of {letters:,} letters over {breaks} breaks; {len(got) - letters:,} came twice"
    )
    measured("R2", on="SQLite", figure=figure)


@pytest.mark.promise("R2", "R5")
async def test_what_the_layer_loses_is_filled_in_on_live_connections(
    start_gateway: GatewayFactory, valkey: ValkeyServer, measured: Measured
) -> None:
    seconds, said = [], 0
    port = urlsplit(valkey.url).port
    assert port is not None
    with FaultyProxy(port) as layer:
        gateway = start_gateway(
            database="postgres",
            workers=2,
            redis_url=valkey.url.replace(str(port), str(layer.port)),
            environment={"RATE_LIMITS": "off"},
        )
        clients = [await PipelineClient.connect(gateway, "group", session_id="talk") for _ in range(12)]
        assert len(truth.ask(gateway, "SELECT DISTINCT worker FROM connections_connection")) == 2, "both have sockets"

        def drop() -> None:
            layer.refuse()
            layer.cut()

        changes = at_length(
            (layer.cut, layer.stall, layer.flow), (layer.cut, drop, layer.accept, layer.stall, layer.flow) * 20
        )
        for change in changes:
            await asyncio.to_thread(change)
            began = time.monotonic()
            for number, client in enumerate(clients):
                await client.say(f"word {number}")
            said += len(clients)
            for client in clients:
                assert await _seqs(client, said) == list(range(said - len(clients) + 1, said + 1))
            seconds.append(time.monotonic() - began)
        for client in clients:
            await client.ping()
            await client.close()
        gateway.close()
    figure = (
        f"0 missed, 0 out of order of {said:,} messages on {len(clients)} live connections while the layer was cut,"
        f" away or stalled, {len(seconds)} times; the last of them {max(seconds):.1f} s after it was said"
    )
    measured("R2", on="PostgreSQL + Valkey", figure=figure, holds=max(seconds) <= 5)
