"""Several workers: replaced when killed, and none outlives its supervisor."""

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess, get_status
from tests.support.waiting import wait_until


def runs(pid: int) -> bool:
    """Tell whether a process lives; one that ended and was not waited for has no program."""
    return Path(f"/proc/{pid}/exe").exists()


def wait_gone(gateway: GatewayProcess, *pids: int) -> None:
    wait_until(lambda: not any(map(runs, pids)), timeout=15, what="the end of the processes", detail=gateway.log)


async def test_a_killed_worker_is_replaced(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    before = gateway.worker_pids()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    wait_gone(gateway, before[0])
    wait_until(
        lambda: len(set(gateway.worker_pids()) - {before[0]}) == 2,
        timeout=10,
        what="another worker",
        detail=gateway.log,
    )
    assert before[1] in gateway.worker_pids()
    gateway.wait_ready()
    async with await PipelineClient.connect(gateway) as client:
        assert (await client.ping())["type"] == "pong"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(start_gateway: GatewayFactory, number: signal.Signals) -> None:
    gateway = start_gateway(workers=2)
    workers = gateway.worker_pids()
    os.kill(gateway.pid, number)
    wait_gone(gateway, gateway.pid, *workers)
    assert gateway.terminate() == 0
    assert get_status(f"{gateway.url}/healthz") == 0


def test_a_second_signal_kills_a_worker_that_does_not_end(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    stuck, other = gateway.worker_pids()
    os.kill(stuck, signal.SIGSTOP)
    os.kill(gateway.pid, signal.SIGTERM)
    wait_gone(gateway, other)
    assert runs(stuck)
    os.kill(gateway.pid, signal.SIGTERM)
    wait_gone(gateway, gateway.pid, stuck)


def test_killing_the_supervisor_ends_its_workers(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    workers = gateway.worker_pids()
    os.kill(gateway.pid, signal.SIGKILL)
    wait_gone(gateway, gateway.pid, *workers)
    assert get_status(f"{gateway.url}/healthz") == 0


def test_two_gateways_without_redis_do_not_share_a_folder(start_gateway: GatewayFactory) -> None:
    first = start_gateway()
    second = GatewayProcess(first.data_dir, first.database_url)
    with pytest.raises(AssertionError, match="Another gateway serves from"):
        second.start()
    assert get_status(f"{first.url}/readyz") == 200
