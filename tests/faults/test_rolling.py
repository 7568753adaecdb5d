"""Rolling restarts under load: nobody is refused, nothing is lost, nothing is said twice (R15)."""

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.places import start_at
from tests.faults.talkers import Caller, Knocker, Talker
from tests.faults.visitors import WIRES, HubVisitor, Visitor
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually, wait_until

ROUNDS = at_length(1, 20)
TALKERS = at_length(6, 20)
CALLERS = at_length(2, 4)
VISITORS = at_length((), WIRES)  # beside them, on every wire
KNOCKS = at_length(5.0, 50.0)  # a second
PATIENCE = 180.0  # seconds for one round, on a machine that does much else


@pytest.mark.promise("R15")
@pytest.mark.timeout(300 * ROUNDS)
async def test_workers_are_replaced_under_load_and_nobody_notices(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    over = asyncio.Event()
    with model_in_thread(Mode.SLOW) as model:
        model.delay = 0.03
        gateway = start_at(start_gateway, "PostgreSQL + Valkey", model=model.base_url())
        before = set(gateway.worker_pids())
        talkers = [Talker(gateway) for _ in range(TALKERS)]
        callers = [Caller(gateway) for _ in range(CALLERS)]
        knocker = Knocker(gateway, a_second=KNOCKS)
        visitors = [wire() for wire in VISITORS]
        for visitor in visitors:
            if isinstance(visitor, HubVisitor):
                await visitor.introduce_friend(gateway)
        began = time.monotonic()
        async with asyncio.TaskGroup() as load:
            for talker in talkers:
                load.create_task(talker.talk(over))
            for calling in callers:
                load.create_task(calling.talk(over))
            visiting = [asyncio.create_task(_go_on(visitor, gateway, over)) for visitor in visitors]
            load.create_task(knocker.knock(over))
            for number in range(1, ROUNDS + 1):
                os.kill(gateway.pid, signal.SIGHUP)
                await eventually(lambda number=number: _has_rolled(gateway, number), timeout=PATIENCE, what="its end")  # type: ignore[misc]  # bound now
            seconds = (time.monotonic() - began) / ROUNDS
            over.set()
        assert not before & set(gateway.worker_pids())
        assert not knocker.failures
        for talker in talkers:
            assert not talker.failures
            talker.check()
        codes = {code for talker in talkers for code in talker.closes}
        assert codes == {1012}, "each has met a worker that ended"
        if visitors:  # who talk until the gateway ends, and leave something to be answered
            await asyncio.to_thread(gateway.terminate)
            await asyncio.gather(*visiting)
            await asyncio.to_thread(gateway.start)
        await eventually(lambda: _is_over(gateway), timeout=PATIENCE, what="the end of every turn")
        _compare(gateway, visitors)
    answers = sum(len(talker.answers) for talker in talkers)
    closes = sum(talker.closes[1012] for talker in talkers)
    calls, repeats = sum(each.calls for each in callers), sum(each.repeats for each in callers)
    measured(
        "R15",
        on="PostgreSQL + Valkey",
        figure=f"0 lost, 0 twice of {answers:,} answers to {TALKERS} clients over {ROUNDS} restarts of two workers "
        f"({seconds:.0f} s each), {closes} resumes after 1012; {len(knocker.knocks):,} new sockets and "
        f"{calls:,} calls, 0 failed, {repeats} told to repeat",
    )


async def _go_on(visitor: Visitor, gateway: GatewayProcess, over: asyncio.Event) -> None:
    """Talk on a wire, and begin again whenever that ends."""
    while not over.is_set():
        await visitor.talk(gateway)


async def _has_rolled(gateway: GatewayProcess, times: int) -> bool:
    log = gateway.log()
    assert "rolling_restart.stopped" not in log, log
    return log.count("rolling_restart.done") == times


async def _is_over(gateway: GatewayProcess) -> bool:
    return truth.count(gateway, truth.OPEN) == 0


def _compare(gateway: GatewayProcess, visitors: list[Visitor]) -> None:
    assert truth.count(gateway, truth.UNANSWERED) == 0
    assert truth.count(gateway, truth.ANSWERED_TWICE) == 0
    assert truth.count(gateway, truth.WITH_GAPS) == 0
    said = [text for (text,) in truth.ask(gateway, truth.SAID)]
    for visitor in visitors:
        assert visitor.acknowledged, f"nothing was acknowledged on {visitor.wire}"
        assert all(said.count(text) == 1 for text in visitor.acknowledged), f"lost or twice on {visitor.wire}"


# --- What a new worker takes along -------------------------------------------------------------


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the project, to be changed."""
    folder = tmp_path / "installation"
    for name in ("chatgateway", "connections", "conversations", "integrations", "templates"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "manage.py", folder)
    return folder


async def test_new_settings_and_new_code_are_taken_and_what_does_not_start_is_not(
    start_gateway: GatewayFactory, installation: Path
) -> None:
    settings, code = installation / ".env", installation / "chatgateway" / "health.py"
    settings.write_text("ALLOWED_HOSTS=127.0.0.1\n")
    prefix = ("env", "-u", "ALLOWED_HOSTS", "-C", str(installation))
    gateway = start_gateway(workers=2, prefix=prefix, allow_tracebacks=True)
    old = gateway.worker_pids()
    assert await _look(gateway) == (400, None)

    broken = code.read_text()
    code.write_text("this is no Python")
    os.kill(gateway.pid, signal.SIGHUP)
    await asyncio.to_thread(_wait_for, gateway, "rolling_restart.stopped")
    assert gateway.worker_pids() == old

    code.write_text(broken.replace('{"status": "ok"}', '{"status": "new"}'))
    settings.write_text("ALLOWED_HOSTS=127.0.0.1,gateway.example\n")
    os.kill(gateway.pid, signal.SIGHUP)
    await asyncio.to_thread(_wait_for, gateway, "rolling_restart.done")
    assert not set(old) & set(gateway.worker_pids())
    assert await _look(gateway) == (200, {"status": "new"})


async def _look(gateway: GatewayProcess) -> tuple[int, Any]:
    """Return what it says of its health to who knows it by another name."""
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        response = await client.get("/healthz", headers={"Host": "gateway.example"})
    return response.status_code, response.json() if response.status_code == 200 else None


def _wait_for(gateway: GatewayProcess, event: str) -> None:
    wait_until(lambda: event in gateway.log(), timeout=PATIENCE, what=event, detail=gateway.log)
