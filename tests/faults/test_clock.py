"""The wall clock jumps by an hour, ahead and back: no lease ends, no time-out changes, nothing comes out of order."""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.faults.clock import WallClock
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import PipelineClient, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.databases import PostgresServer
from tests.support.rest import history
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

HOUR = 3600
JUMPS = at_length((HOUR, -HOUR), (HOUR, -HOUR, 0) * 3)
BEAT, LEASE = at_length((2.5, 15.0), (5.0, 20.0))
BEATS = at_length(1, 5)  # that are waited for after a jump
# Between two beats there are several scans: one of them sees a beat that has not changed, and the clock that has.
SETTINGS = {"LEASE": str(LEASE), "BEAT": str(BEAT), "SCAN": "0.2"}
REQUESTS = 5  # for the owner, that a visitor has in an hour
ROOM = 30.0
WORKERS = "SELECT uuid, beat FROM connections_worker WHERE ended_at IS NULL"
LIVE = "SELECT count(*) FROM connections_connection WHERE ended_at IS NULL"


def sqlite_rows(gateway: GatewayProcess, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"))) as connection:
        return connection.execute(statement).fetchall()


async def leases_hold(query: Callable[[str], list[tuple[Any, ...]]], workers: int) -> None:
    """Wait until each worker's beat has counted up a few times; all must be the same all the time."""
    began = dict(await asyncio.to_thread(query, WORKERS))
    assert len(began) == workers

    async def later() -> bool:
        now = dict(await asyncio.to_thread(query, WORKERS))
        assert now.keys() == began.keys(), "a lease ended"
        return all(now[worker] >= beat + BEATS for worker, beat in began.items())

    await eventually(later, timeout=BEATS * BEAT + ROOM, what="more beats")


async def jumped(gateway: GatewayProcess, seconds: int) -> None:
    """Wait until a gateway's own times show that its clock was set: a test cannot pass where it was not."""

    async def it_has() -> bool:
        async with await PipelineClient.connect(gateway) as client:
            ahead = datetime.fromisoformat(client.connected["timestamp"]) - datetime.now(UTC)
        return abs(ahead.total_seconds() - seconds) < HOUR / 2

    await eventually(it_has, timeout=ROOM, what="the jump")


async def use_up(visitor: ContactClient) -> None:
    """Call for the owner as often as is allowed in an hour."""
    for _ in range(REQUESTS):
        taken = await visitor.request("Please call.")
        assert taken["type"] == "contact_request_received", taken


async def is_limited(visitor: ContactClient) -> None:
    """Look that the hour is not over, and that it is no longer than one."""
    refusal = await visitor.request("Please call.")
    assert refusal["type"] == "error"
    assert 0 < refusal["retry_after"] <= HOUR


@pytest.mark.promise("R20")
@pytest.mark.timeout(120 + 4 * LEASE * len(JUMPS))
async def test_one_worker_goes_on_whatever_the_wall_clock_says(
    start_gateway: GatewayFactory, measured: Measured, tmp_path: Path
) -> None:
    clock = WallClock(tmp_path)
    with model_in_thread(Mode.SLOW) as model:
        gateway = start_gateway(
            model=model.base_url(), environment={**SETTINGS, **clock.environment}, prefix=clock.prefix
        )
        async with (
            await PipelineClient.connect(gateway) as client,
            await ContactClient.connect(gateway) as visitor,
        ):
            await use_up(visitor)
            seq = 0
            for seconds in JUMPS:
                model.delay = 0.5  # before each of its words
                await client.say("Tell me all.")
                await client.until(is_type("response"))  # it has begun to answer, and goes on over the jump
                clock.jump(seconds)
                await jumped(gateway, seconds)
                await client.ping()
                grown = (await client.until(is_type("response")))[-1]
                assert not is_final(grown), "it grows on"
                model.delay = 0.01
                frames = await client.until(is_final)
                assert frames[-1]["data"]["content"] == "".join(model.words), "not cut, nor failed"
                seq += 2
                assert frames[-1]["data"]["seq"] == seq
                await leases_hold(lambda statement: sqlite_rows(gateway, statement), 1)
                await is_limited(visitor)
            again = await PipelineClient.connect(
                gateway, session_id=client.session_id, resume_token=client.resume_token, last_seq=0
            )
            async with again:
                replayed = await again.until(lambda frame: frame.get("data", {}).get("seq") == seq)
                assert [frame["data"]["seq"] for frame in replayed[1:]] == list(range(1, seq + 1))
        messages = history(gateway, query=f"?session_id={client.session_id}&limit=100")
        assert [message["seq"] for message in messages] == list(range(1, seq + 1)), "in order, whatever their times"
    _check_log(gateway)
    measured(
        "R20", on="SQLite", figure=f"0 changes of lease, time-out, limit or order in {len(JUMPS)} jumps of 1 to 2 hours"
    )


@pytest.mark.promise("R20")
@pytest.mark.timeout(120 + 4 * LEASE * len(JUMPS))
async def test_a_worker_whose_clock_jumps_and_one_whose_does_not_stay_together(
    start_gateway: GatewayFactory, postgres: PostgresServer, valkey: Any, measured: Measured, tmp_path: Path
) -> None:
    clock = WallClock(tmp_path)
    # As on two machines: neither sees the other's lock, only its beat.
    here = start_gateway(database="postgres", redis_url=valkey.url, environment=SETTINGS)
    there = start_gateway(
        database_url=here.database_url,
        redis_url=valkey.url,
        environment={**SETTINGS, **clock.environment, "SECRET_KEY": _secret_of(here)},
        prefix=clock.prefix,
    )
    near, far = [await PipelineClient.connect(gateway, "group") for gateway in (here, there)]
    visitor = await ContactClient.connect(there)
    await use_up(visitor)
    seq = 0
    for seconds in JUMPS:
        clock.jump(seconds)
        await jumped(there, seconds)
        for speaker in (near, far):
            await speaker.say("ai What can you do?")
            for member in (near, far):
                frames = [frame for frame in await member.until(is_final) if "seq" in frame["data"]]
                assert [frame["data"]["seq"] for frame in frames] == [seq + 1, seq + 2]
            seq += 2
        await leases_hold(lambda statement: postgres.query(here.database_url, statement), 2)
        assert postgres.query(here.database_url, LIVE)[0][0] >= 3
        if "limits.alone" not in there.log():  # Redis took too long on this machine, and a worker began to count anew
            await is_limited(visitor)
    for client in (near, far, visitor):
        await client.close()
    for gateway in (here, there):
        _check_log(gateway)
    figure = f"0 changes of lease, limit or order in {len(JUMPS)} jumps of one of two workers"
    measured("R20", on="PostgreSQL + Valkey", figure=figure)


def _secret_of(gateway: GatewayProcess) -> str:
    return (gateway.data_dir / "secret_key").read_text().strip()


def _check_log(gateway: GatewayProcess) -> None:
    """A worker that was taken for dead, or took itself for one that had been, says so."""
    assert not re.findall(r"worker\.(?:lost|fenced)|turn\.(?:lost|taken_over|forgotten)", gateway.log())
