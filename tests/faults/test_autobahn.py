"""Autobahn's fuzzing client: our base class and server settings have no failure that the bare server does not have."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.support.environment import ROOT
from tests.support.programs import Program
from tests.support.waiting import free_port, is_listening, wait_until

HERE = ROOT / ".venv" / "autobahn"
# Python 2.7 does not read what pip put there by itself.
START = f"import site; site.addsitedir({str(HERE)!r}); from autobahntestsuite.wstest import run; run()"
GROUPS = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
CASES = at_length(241, 247)
SLOW = at_length(["5.19", "5.20", "6.4.*"], [])  # they wait for a second or two each
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
PATH = "/echo"
PATIENCE = 100.0

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "autobahn.stamp").exists(),
    reason="Autobahn's suite needs Python 2.7, with which make installs it",
)


def test_autobahn_finds_nothing_that_the_bare_server_does_not_have(
    start_gateway: GatewayFactory, measured: Measured, tmp_path: Path
) -> None:
    gateway = start_gateway(environment={"DJANGO_SETTINGS_MODULE": "tests.faults.echo_settings"})
    with _bare_server(tmp_path) as bare_port:
        servers = {"gateway": f"{gateway.ws_url}{PATH}", "bare": f"ws://127.0.0.1:{bare_port}{PATH}"}
        found = _fuzz(servers, tmp_path)
    assert found["gateway"].keys() == found["bare"].keys()
    assert len(found["bare"]) == CASES
    failures, bare_failures = _failures(found["gateway"]), _failures(found["bare"])
    assert not failures.keys() - bare_failures.keys(), f"{failures}, and on the bare server {bare_failures}"
    figure = f"{CASES - len(failures)} of {CASES} cases pass; on the bare server {CASES - len(bare_failures)}"
    measured("Autobahn", on="any database", figure=figure)


def _fuzz(servers: dict[str, str], folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return what the fuzzing client says of each server, by case."""
    spec = {
        "outdir": "reports",
        "servers": [{"agent": name, "url": url} for name, url in servers.items()],
        "cases": GROUPS,
        "exclude-cases": SLOW,
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    command = ("python2.7", "-W", "ignore", "-c", START, "-m", "fuzzingclient", "-s", "spec.json")
    with Program(*command, folder=folder, name="autobahn", PYENV_VERSION="2.7.18") as client:
        client.finished(PATIENCE)
    found: dict[str, dict[str, dict[str, str]]] = json.loads((folder / "reports" / "index.json").read_bytes())
    return found


def _failures(cases: dict[str, dict[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the cases that went wrong, and how: what was answered, how the connection ended."""
    said = {name: (case["behavior"], case["behaviorClose"]) for name, case in cases.items()}
    return {name: behaviors for name, behaviors in said.items() if not GOOD.issuperset(behaviors)}


@contextmanager
def _bare_server(folder: Path) -> Iterator[int]:
    """Serve the bare echo, and give its port."""
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "tests.faults.bare_echo:application", "--app-dir", ROOT)
    options = (
        "--port",
        str(port),
        "--ws",
        "websockets-sansio",
        "--ws-per-message-deflate",
        "false",
        "--lifespan",
        "off",
    )
    with Program(*command, *options, folder=folder, name="bare") as server:
        wait_until(lambda: is_listening(port), timeout=30, what="the bare server", detail=lambda: server.output)
        yield port
