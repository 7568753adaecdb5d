"""The harness's own gateway processes: they start on every server and database, die, come back, and leave nothing."""

from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, answer
from tests.support.server import DatabaseKind, ServerKind, get_status


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_a_real_client_talks_to_a_real_server(
    start_gateway: GatewayFactory, server: ServerKind, database: DatabaseKind
) -> None:
    gateway = start_gateway(server=server, database=database)
    async with await PipelineClient.connect(gateway) as client:
        assert client.connected["type"] == "connected"
        assert (await client.ping())["type"] == "pong"
        assert answer(await client.ask("What can you do?"))


def test_a_killed_gateway_comes_back_on_its_port(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    before, url = gateway.pid, gateway.url
    gateway.restart()
    assert gateway.pid != before
    assert get_status(f"{url}/healthz") == 200


def test_kill_leaves_no_worker_behind(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    pids = [gateway.pid, *gateway.worker_pids()]
    assert len(pids) == 3
    gateway.kill()
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_terminate_ends_it_and_the_port_is_free_again(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    assert gateway.worker_pids() == [gateway.pid]
    gateway.terminate()
    assert get_status(f"{gateway.url}/healthz") == 0


def test_a_gateway_that_cannot_start_shows_its_log(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(start=False, environment={"MAX_CONNECTIONS": "none"})
    with pytest.raises(AssertionError, match="MAX_CONNECTIONS must be a whole number"):
        gateway.start()


def test_a_traceback_in_the_log_fails_the_test(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(start=False)
    (gateway.data_dir / "server.log").write_text("Traceback (most recent call last):\n")
    with pytest.raises(AssertionError, match="a traceback in the log"):
        gateway.close()
    gateway.allow_tracebacks = True
