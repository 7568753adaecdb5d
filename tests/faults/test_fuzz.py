"""Bad input over all five wires, while others ping and ask (R17)."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measuring import percentile
from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.fuzz import TROUBLE
from tests.faults.measuring import Place, at_length
from tests.faults.process import idle
from tests.support.clients import PipelineClient
from tests.support.environment import ROOT
from tests.support.server import DatabaseKind, GatewayProcess

FRAMES = at_length(1_000, 105_000)
WARM_UP = at_length(400, 20_000)  # after which caches are full, so that what grows from then on is a leak
PACE = 250  # frames a second: what is measured of others is harm, not want of a processor
GROWTH = at_length(30, 12)  # MB that may stay; a short run has not filled every cache before it
DATABASES: tuple[tuple[DatabaseKind, Place], ...] = at_length(
    (("sqlite", "SQLite"),), (("sqlite", "SQLite"), ("postgres", "PostgreSQL"))
)
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tests.faults.small_cache_settings", "RATE_LIMITS": "off"}
HARM = 0.02  # seconds that others' p99 may grow by


@pytest.mark.promise("R17")
@pytest.mark.timeout(at_length(120, 1_800))
@pytest.mark.parametrize(("database", "place"), DATABASES)
async def test_bad_input_leaves_no_trace_and_harms_nobody(
    start_gateway: GatewayFactory, measured: Measured, database: DatabaseKind, place: Place
) -> None:
    gateway = start_gateway(database=database, environment=ENVIRONMENT)
    fresh = idle(gateway)
    await _fuzz(gateway, seed=1, frames=WARM_UP)
    base = idle(gateway, fresh)
    pings, answers = await _probe(gateway, asyncio.sleep(at_length(1, 30)))
    seed = at_length(2, time.time_ns())
    done: list[dict[str, Any]] = []

    async def fuzz() -> None:
        done.append(await _fuzz(gateway, seed=seed, frames=FRAMES))

    pings_beside, answers_beside = await _probe(gateway, fuzz())
    after = idle(gateway, fresh)
    sent = sum(done[0]["sent"].values())
    assert sent >= FRAMES, f"seed {seed}"
    log = gateway.log().encode()
    assert not any(mark in log for mark in TROUBLE), f"seed {seed}: {gateway.log()[-4000:]}"
    assert after.megabytes < base.megabytes + GROWTH, f"{base} → {after}"
    p99, p99_beside = percentile(pings, 0.99), percentile(pings_beside, 0.99)
    figure = (
        f"{sent:,} frames on five wires (seed {seed}): 0 tracebacks; memory {base.megabytes:.0f} → "
        f"{after.megabytes:.0f} MB, descriptors and tasks back; others' ping p99 {p99 * 1000:.0f} → "
        f"{p99_beside * 1000:.0f} ms (of {len(pings_beside):,}), answer p99 {percentile(answers, 0.99) * 1000:.0f} → "
        f"{percentile(answers_beside, 0.99) * 1000:.0f} ms"
    )
    measured("R17", on=place, figure=figure, holds=p99_beside < p99 + HARM)


async def _fuzz(gateway: GatewayProcess, *, seed: int, frames: int) -> dict[str, Any]:
    """Send so many frames from a process of its own; fail with those that went other than they may."""
    log = gateway.data_dir / "server.log"
    printed = await _run("tests.faults.fuzz", gateway.port, log, "--seed", seed, "--frames", frames, "--pace", PACE)
    done: dict[str, Any] = json.loads(printed)
    assert not done["failures"], "\n".join(done["failures"])
    return done


async def _probe(gateway: GatewayProcess, meanwhile: Any) -> tuple[list[float], list[float]]:
    """Return how long pings and answers took until `meanwhile` is over."""
    ended = asyncio.Event()

    async def ask() -> list[float]:
        took = []
        async with await PipelineClient.connect(gateway) as client:
            while not ended.is_set():
                began = time.perf_counter()
                await client.ask("What can you do?")
                took.append(time.perf_counter() - began)
        return took

    async def ping() -> list[float]:
        took = []
        while not ended.is_set():
            took += json.loads(await _run("tests.faults.pinging", gateway.ws_url, 1))
        return took

    async with asyncio.TaskGroup() as group:
        pinging, asking = group.create_task(ping()), group.create_task(ask())
        await meanwhile
        ended.set()
    return pinging.result(), asking.result()


async def _run(module: str, *arguments: str | int | Path) -> bytes:
    """Return what a program prints; its clock and its processor time are its own."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *(str(argument) for argument in arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await program.communicate()
    assert program.returncode == 0, f"{module} ended with {program.returncode}"
    return printed
