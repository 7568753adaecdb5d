"""What the fault tests break things with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import GatewayFactory
from tests.faults.measuring import Measurement
from tests.faults.promises import PROMISES
from tests.faults.proxy import FaultyProxy
from tests.faults.reader import StalledReader
from tests.faults.report import DATA, PAGE, merge, read, table
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient, is_type
from tests.support.environment import ROOT
from tests.support.waiting import wait_until

HELD = Measurement("R2", "SQLite", "0 of 1,000 | lost", True, "tests/faults/test_a.py::test_b[x]", "2026-01-01", True)


async def test_a_proxy_stalls_throttles_cuts_and_refuses_and_carries_again(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    with FaultyProxy(gateway.port) as proxy:
        client = await PipelineClient.connect(proxy.ws_url)
        proxy.stall()
        await client.send({"type": "ping"})
        with pytest.raises(TimeoutError):
            await client.recv(0.2)
        proxy.flow()
        await client.until(is_type("pong"))
        proxy.throttle(2000)
        await client.ping()
        proxy.throttle(None)
        proxy.cut()
        assert await client.closed() == 1006
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await PipelineClient.connect(proxy.ws_url)
        proxy.accept()
        async with await PipelineClient.connect(proxy.ws_url) as client:
            await client.ping()
            assert proxy.connections == 1
    with pytest.raises((ConnectionClosed, OSError)):
        await client.ping()
    with StalledReader(gateway, f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect?session_type=person") as reader:
        reader.say(json.dumps({"type": "ping"}))
        assert not reader.is_dropped()
        gateway.kill()
        wait_until(reader.is_dropped, timeout=10, what="the end of the connection")


def test_a_measurement_takes_the_place_of_the_same_test_s_last_one() -> None:
    other = Measurement("R2", "PostgreSQL", "0", True, "tests/faults/test_a.py::test_c", "2026-01-01", True)
    newer = Measurement("R2", "SQLite", "1 of 1,000 lost", False, HELD.test, "2026-01-02", True)
    assert merge([HELD, other], [newer]) == [other, newer]


def test_the_report_has_every_promise_and_says_which_are_missed_and_which_missing() -> None:
    missed = Measurement("R3", "SQLite", "2 calls", False, "tests/faults/test_a.py::test_d", "2026-01-01", False)
    beside = Measurement("Autobahn", "any database", "0", True, "tests/faults/test_a.py::test_e", "2026-01-01", True)
    rows = {row.split("|")[1].strip(): row for row in table([HELD, missed, beside]).splitlines()}
    assert list(rows) == [*PROMISES, "Autobahn"]
    assert "| holds |" in rows["R2"]
    assert r"0 of 1,000 \| lost" in rows["R2"]
    assert '`make faults ARGS="-k test_b"`' in rows["R2"]
    assert "**missed** (short run)" in rows["R3"]
    assert "not measured" in rows["R4"]


def test_a_failed_test_of_a_promise_is_a_missed_row(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_lost.py").write_text(
        "import pytest\n\n@pytest.mark.promise('R1', 'R4')\ndef test_lost():\n    assert False\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    ended = subprocess.run(
        [*command, "-p", "no:django", "-p", "no:randomly", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "FAULTS_REPORT": str(noted)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout
    measurements = read(noted.read_text().splitlines())
    assert [(m.promise, m.holds) for m in measurements] == [("R1", False), ("R4", False)]


def test_the_page_is_what_was_measured() -> None:
    measurements = msgspec.json.decode(DATA.read_bytes(), type=list[Measurement])
    assert PAGE.read_text().endswith(table(measurements))
