"""Peers that do not read: what waits for them is bounded, they are cut off, and nobody else notices (R6)."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.benchmarks.measuring import percentile
from tests.conftest import Serve
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.model import model_in_thread
from tests.faults.reader import StalledCaller, StalledReader
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_type
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until
from tests.support.yishiting import question

READERS = at_length(8, 100)
LIMIT = at_length(200_000, 1024 * 1024)  # bytes that may wait for one of them
WORDS = "答" * 20_000  # 60 KB
PATIENCE = 30.0  # three times what is promised until the end of a slow reader
MEMORY = 110_000_000
DELAY = 0.020
AT_ONCE = 10  # messages that may wait to be stored: on a slow disk they would be more than what waits for readers
MOST = 200  # messages to fill one up; that many are never needed


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway whose model has much to say."""
    with model_in_thread() as model:
        model.words = (WORDS,)
        settings = {"MAX_OUTBOUND_BYTES": str(LIMIT), "CLOSE_TIMEOUT": at_length("0.5", "5")}
        with serve(model=model.base_url(), RATE_LIMITS="off", **settings) as gateway:
            yield gateway


def ends(gateway: GatewayProcess, wire: str) -> list[int | None]:
    """Return the close codes of a wire's connections, None of one that lives."""
    with contextlib.closing(sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"))) as database:
        rows = database.execute("SELECT close_code FROM connections_connection WHERE wire = ?", [wire])
        return [row[0] for row in rows]


def memory(gateway: GatewayProcess, what: str) -> int:
    """Return the bytes that the gateway holds (VmRSS), or held at most (VmHWM)."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def begin_to_watch_memory(gateway: GatewayProcess) -> int:
    """Return the bytes that the gateway holds; what it holds at most is counted anew from now on."""
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    return memory(gateway, "VmRSS")


def room(name: str) -> str:
    """Return the path into a group's room, in which nothing is answered unless the assistant is addressed."""
    return f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect?session_type=group&session_id={name}"


def says(text: str) -> str:
    """Return the frame of a message."""
    return json.dumps({"type": "message", "message": [{"type": "Plain", "text": text}]}, ensure_ascii=False)


def cut_off(gateway: GatewayProcess, readers: list[StalledReader], wire: str, before: int) -> float:
    """Wait until all were found too slow, then until all are gone; return the seconds between."""
    wait_until(
        lambda: gateway.log().count("code=4108") >= before + len(readers),
        timeout=PATIENCE,
        what="slow readers that are found so",
    )
    began = time.monotonic()
    wait_until(
        lambda: ends(gateway, wire).count(4108) >= len(readers) and all(reader.is_dropped() for reader in readers),
        timeout=PATIENCE,
        what="the end of the slow readers",
        detail=lambda: f"{ends(gateway, wire)} {gateway.log()[-2000:]}",
    )
    return time.monotonic() - began


# --- On each wire ------------------------------------------------------------------------------


@pytest.mark.promise("R6")
async def test_who_does_not_read_his_room_is_cut_off_and_those_beside_him_do_not_notice(
    gateway: GatewayProcess, measured: Measured
) -> None:
    name, before = uuid4().hex, gateway.log().count("code=4108")
    async with AsyncExitStack() as stack:
        talker, witness = [
            await stack.enter_async_context(await PipelineClient.connect(gateway, "group", session_id=name))
            for _ in range(2)
        ]
        alone = [await heard_after(talker, witness) for _ in range(at_length(50, 300))]
        readers = [stack.enter_context(StalledReader(gateway, room(name))) for _ in range(READERS)]
        beside: list[float] = []
        while gateway.log().count("code=4108") < before + READERS:
            beside.append(await heard_after(talker, witness))
            assert len(beside) < 10 * MOST, "nobody is too slow"
        beside += [await heard_after(talker, witness) for _ in range(len(alone) // 2)]
        seconds = await asyncio.to_thread(cut_off, gateway, readers, "langbot", before)
        assert (await witness.ping())["type"] == "pong"
    added = percentile(beside, 0.99) - percentile(alone, 0.99)
    measured(
        "R6", on="SQLite", holds=added < DELAY and seconds <= 10,
        figure=f"{READERS} stuck readers in a room: others' p99 {percentile(alone, 0.99) * 1000:.1f} ms without them,"
        f" {added * 1000:+.1f} ms beside them; all closed 4108 after {seconds:.1f} s",
    )  # fmt: skip


async def heard_after(talker: PipelineClient, witness: PipelineClient, size: int = 20_000) -> float:
    """Let one say something, and return the seconds until the other has heard it."""
    began = time.perf_counter()
    await talker.say("x" * size)
    await witness.until(is_type("user_message"))
    seconds = time.perf_counter() - began
    if talker is not witness:
        await talker.until(is_type("user_message"))
    return seconds


@pytest.mark.promise("R6")
async def test_what_waits_for_stuck_readers_is_bounded_in_memory(gateway: GatewayProcess, measured: Measured) -> None:
    before, ended = gateway.log().count("code=4108"), ends(gateway, "langbot").count(4108)
    async with await PipelineClient.connect(gateway, "group", session_id=uuid4().hex) as witness:
        for _ in range(at_length(20, 2_000)):  # the same work for one who reads: the database's caches are full then
            await heard_after(witness, witness, 8_000)
        with ExitStack() as stack:
            base = begin_to_watch_memory(gateway)
            readers = [stack.enter_context(StalledReader(gateway, room(uuid4().hex))) for _ in range(READERS)]
            # Each in a room of his own: no two of them wait for the same bytes.
            for _ in range(MOST):
                for number, reader in enumerate(readers):
                    assert (await witness.ping())["type"] == "pong"
                    if number % AT_ONCE == 0:
                        await heard_after(witness, witness, 1)  # behind what was said before: that is stored now
                    if not reader.is_dropped():
                        with contextlib.suppress(OSError):
                            reader.say(says("x" * 8_000))
                if gateway.log().count("code=4108") >= before + READERS:
                    break
            grown = memory(gateway, "VmHWM") - base
            await asyncio.to_thread(
                wait_until,
                lambda: ends(gateway, "langbot").count(4108) >= ended + READERS,
                timeout=PATIENCE,
                what="the end of the stuck readers",
            )
    assert grown < 2 * READERS * LIMIT + 20_000_000
    measured("R6", on="SQLite", figure=f"{READERS} stuck readers: {grown / 1e6:.0f} MB at most", holds=grown <= MEMORY)


@pytest.mark.promise("R6")
@pytest.mark.parametrize(
    ("wire", "path", "first", "asks"),
    [
        ("contact", "/contact", None, {"type": "chat_message", "message": "?"}),
        ("wechat", "/wechat/ws", {"type": "login", "code": "stalled"}, {"type": "chat", "query": "?"}),
    ],
)
def test_a_visitor_who_does_not_read_his_answers_is_cut_off(
    gateway: GatewayProcess,
    measured: Measured,
    wire: str,
    path: str,
    first: dict[str, str] | None,
    asks: dict[str, str],
) -> None:
    before = gateway.log().count("code=4108")
    with StalledReader(gateway, path) as reader:
        if first is not None:
            reader.say(json.dumps(first))
        for _ in range(at_length(15, 45)):  # fewer than may wait for an answer
            reader.say(json.dumps(asks))
        seconds = cut_off(gateway, [reader], wire, before)
    measured("R6", on="SQLite", figure=f"{wire}: closed 4108 after {seconds:.1f} s", holds=seconds <= 10)


# --- Where what waits lies in the database, or is not made yet ---------------------------------


@pytest.fixture(scope="module")
def impatient(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that soon finds a peer gone who does not answer its pings."""
    with model_in_thread() as model:
        model.words = tuple("答" * 5_000 for _ in range(6))
        environment = {
            "PING_INTERVAL": at_length("1", "20"),
            "PING_TIMEOUT": at_length("1", "20"),
            "REQUEST_TIMEOUT": at_length("1", "10"),
        }
        with serve(model=model.base_url(), RATE_LIMITS="off", **environment) as gateway:
            yield gateway


@pytest.mark.promise("R6")
async def test_letters_for_a_client_that_does_not_read_wait_in_the_database(
    impatient: GatewayProcess, measured: Measured
) -> None:
    letters = at_length(60, 500)
    base = begin_to_watch_memory(impatient)
    with StalledReader(impatient, "/?clientID=stuck"):
        async with await HubClient.connect(impatient, "writer", receipts=1) as writer:
            for number in range(letters):
                await writer.write("stuck", f"{number:04d}".ljust(30_000, "x"))
                assert (await writer.recv())["subject"] in {"delivered", "queued"}
        grown = memory(impatient, "VmHWM") - base
        await asyncio.to_thread(
            wait_until,
            lambda: 1006 in ends(impatient, "postoffice"),
            timeout=3 * at_length(10, 45),
            what="the end of the client that does not read",
        )
    assert grown < 40_000_000  # of the 30 KB each that are on their way, not of all that wait
    async with await HubClient.connect(impatient, "stuck") as again:
        got = [int((await again.recv())["content"][:4]) for _ in range(letters)]
    assert got == list(range(letters))
    measured(
        "R6", on="SQLite",
        figure=f"hub: {letters} letters of 30 KB for a stuck client held {grown / 1e6:.0f} MB, and reached it later",
    )  # fmt: skip


@pytest.mark.promise("R6", "R7")
def test_a_caller_who_does_not_read_his_stream_is_dropped(impatient: GatewayProcess, measured: Measured) -> None:
    dropped = impatient.log().count("connection.timed_out")
    with StalledCaller(impatient, "/chat", [question() for _ in range(10)]):
        began = time.monotonic()
        wait_until(
            lambda: (
                impatient.log().count("connection.timed_out") > dropped
                and bool(ends(impatient, "yishiting"))
                and None not in ends(impatient, "yishiting")
            ),
            timeout=PATIENCE + 45,
            what="the end of the call",
            detail=lambda: f"{ends(impatient, 'yishiting')} {impatient.log()[-2000:]}",
        )
        seconds = time.monotonic() - began
    measured("R6", on="SQLite", figure=f"a stalled event stream: gone after {seconds:.1f} s", holds=seconds <= 45)
