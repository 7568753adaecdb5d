"""Several workers: replaced when they die, renewed when told, ended together; none outlives its supervisor."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatgateway.supervisor import RESPAWN_PAUSE
from tests.conftest import GatewayFactory
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess, get_status
from tests.support.waiting import is_listening, wait_until


@dataclass(frozen=True)
class Started:
    """A worker that was started."""

    port: int
    pid: int
    time: float

    @property
    def runs(self) -> bool:
        return runs(self.pid)


class Supervised:
    """A supervisor of two workers in processes of their own; tests/chatgateway/supervised.py says what they do."""

    def __init__(self, folder: Path, patience: float, behaviour: str) -> None:
        self._folder = folder
        self.behave(behaviour)
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chatgateway.supervised", str(folder), str(patience)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )

    @property
    def started(self) -> list[Started]:
        path = self._folder / "started"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Started(int(port), int(pid), float(time)) for port, pid, time in lines]

    def behave(self, how: str) -> None:
        """Say what workers do that are started from now on."""
        (self._folder / "behaviour").write_text(how)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, timeout=20, what=what, detail=self.log)

    def wait_started(self, count: int) -> list[Started]:
        """Return all workers so far once there are `count` of them, and all that are to serve do."""
        self.wait(lambda: len(self.started) >= count, f"{count} workers")
        return self.started

    def wait_ready(self, count: int) -> list[Started]:
        """Return all workers so far once `count` of them have served."""
        self.wait(lambda: self.log().count("worker.ready") >= count, f"{count} that serve")
        return self.started

    def wait_spare(self, count: int) -> int:
        """Return the pid of spare number `count`, once it waits."""
        self.wait(lambda: self.log().count("spare.ready") >= count, f"{count} spares")
        return int(re.findall(r"spare\.ready .*\bpid=(\d+)", self.log())[count - 1])

    def end(self) -> None:
        """Kill it, and every worker that outlived it."""
        self.process.kill()
        self.process.wait()
        for worker in self.started:
            if worker.runs:
                os.kill(worker.pid, signal.SIGKILL)


Supervise = Callable[..., Supervised]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """A function that starts a supervisor, whose workers have `patience` seconds to stop."""
    made = []

    def supervise(patience: float = 30.0, behaviour: str = "serve") -> Supervised:
        made.append(Supervised(tmp_path, patience, behaviour))
        return made[-1]

    yield supervise
    for supervised in made:
        supervised.end()
        assert "Traceback" not in supervised.log(), supervised.log()


def runs(pid: int) -> bool:
    """Tell whether a process lives; one that ended and was not waited for has no program."""
    return Path(f"/proc/{pid}/exe").exists()


# --- Replacing ---------------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced_and_its_socket_stays_open(supervise: Supervise) -> None:
    supervised = supervise()
    first, second = supervised.wait_ready(2)
    os.kill(first.pid, signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", first.port)):  # it waits for the next one
        (*_, third) = supervised.wait_ready(3)
    assert third.port == first.port
    assert second.runs


def test_the_spare_takes_the_place_of_one_that_dies_and_another_waits(supervise: Supervise) -> None:
    supervised = supervise()
    spare = supervised.wait_spare(1)
    first, _ = supervised.started
    os.kill(first.pid, signal.SIGKILL)
    (*_, third) = supervised.wait_ready(3)
    assert (third.pid, third.port) == (spare, first.port)
    assert supervised.wait_spare(2) != spare


def test_a_spare_that_ended_is_passed_over(supervise: Supervise) -> None:
    supervised = supervise()
    spare = supervised.wait_spare(1)
    os.kill(spare, signal.SIGKILL)
    supervised.wait(lambda: "spare.ended" in supervised.log(), "the end of the spare")
    first, _ = supervised.started
    os.kill(first.pid, signal.SIGKILL)
    (*_, third) = supervised.wait_ready(3)
    assert third.port == first.port
    assert "worker.not_started" not in supervised.log()
    assert supervised.wait_spare(2) != third.pid


def test_workers_that_fail_again_and_again_are_started_once_a_second_each(supervise: Supervise) -> None:
    supervised = supervise()
    supervised.wait_ready(2)
    supervised.behave("fail")
    for worker in supervised.started:
        os.kill(worker.pid, signal.SIGKILL)
    started = supervised.wait_started(8)
    for port in {worker.port for worker in started}:
        times = [worker.time for worker in started if worker.port == port]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(pauses[1:]) >= RESPAWN_PAUSE
        assert min(pauses[1:]) < 1.75 * RESPAWN_PAUSE, "nobody waits for the other's pause"


def test_a_worker_that_takes_no_more_connections_is_replaced_while_it_still_ends(supervise: Supervise) -> None:
    supervised = supervise()
    supervised.behave("linger")
    first, _ = supervised.wait_ready(2)
    supervised.behave("serve")
    os.kill(first.pid, signal.SIGTERM)
    (*_, third) = supervised.wait_ready(3)
    assert third.port == first.port
    assert first.runs


# --- A rolling restart -------------------------------------------------------------------------


def test_a_rolling_restart_replaces_one_after_another(supervise: Supervise) -> None:
    supervised = supervise()
    old = supervised.wait_ready(2)
    supervised.send(signal.SIGHUP)
    supervised.wait(lambda: "rolling_restart.done" in supervised.log(), "the end of the restart")
    _, _, *new = supervised.started
    assert {worker.port for worker in new} == {worker.port for worker in old}
    assert not any(worker.runs for worker in old)
    assert all(worker.runs for worker in new)
    events = [word for word in supervised.log().split() if word.startswith("worker.")][4:]
    assert events == ["worker.started", "worker.ready", "worker.ended"] * 2, "ready before the old one is told"


def test_a_rolling_restart_takes_no_spare_of_before(supervise: Supervise) -> None:
    supervised = supervise()
    spare = supervised.wait_spare(1)
    supervised.send(signal.SIGHUP)
    assert supervised.wait_spare(2) != spare
    assert supervised.log().index("rolling_restart.done") < supervised.log().rindex("spare.started")
    assert spare not in {worker.pid for worker in supervised.started}
    assert not runs(spare)


def test_one_that_is_told_of_during_another_comes_after_it(supervise: Supervise) -> None:
    supervised = supervise(patience=0.5)
    supervised.behave("linger")
    supervised.wait_ready(2)
    supervised.behave("serve")
    supervised.send(signal.SIGHUP)
    supervised.wait_started(3)
    supervised.send(signal.SIGHUP)
    supervised.wait(lambda: supervised.log().count("rolling_restart.done") == 2, "the end of both")
    assert supervised.log().count("rolling_restart.begun") == 2
    assert len(supervised.started) == 6
    assert [worker.runs for worker in supervised.started] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("behaviour", ["fail", "hang"])
def test_it_stops_where_a_new_worker_does_not_come_up(supervise: Supervise, behaviour: str) -> None:
    supervised = supervise()
    old = supervised.wait_ready(2)
    supervised.behave(behaviour)
    supervised.send(signal.SIGHUP)
    supervised.wait(lambda: "rolling_restart.stopped" in supervised.log(), "the end of the restart")
    supervised.wait(lambda: not supervised.started[2].runs, "the end of the new worker")
    assert len(supervised.started) == 3
    assert all(worker.runs for worker in old)
    supervised.behave("serve")
    supervised.send(signal.SIGHUP)
    supervised.wait(lambda: "rolling_restart.done" in supervised.log(), "another restart, which succeeds")


def test_a_worker_that_dies_meanwhile_is_replaced(supervise: Supervise) -> None:
    supervised = supervise()
    supervised.behave("linger")
    supervised.wait_ready(2)
    supervised.behave("serve")
    supervised.send(signal.SIGHUP)
    first, second, third = supervised.wait_ready(3)
    os.kill(third.pid, signal.SIGKILL)
    (*_, fourth) = supervised.wait_ready(4)
    assert fourth.port == third.port
    assert first.runs, "one of them serves on, and the other takes its time to end"
    assert second.runs


# --- The end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(supervise: Supervise, number: signal.Signals) -> None:
    supervised = supervise()
    spare = supervised.wait_spare(1)
    supervised.send(number)
    assert supervised.process.wait(20) == 0
    assert not any(worker.runs for worker in supervised.started)
    assert not runs(spare)


def test_a_signal_ends_workers_that_only_just_come_up(supervise: Supervise) -> None:
    supervised = supervise(behaviour="late")
    supervised.wait_started(2)
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    assert not any(worker.runs for worker in supervised.started)


def test_a_signal_ends_all_in_the_midst_of_a_rolling_restart(supervise: Supervise) -> None:
    supervised = supervise()
    supervised.wait_ready(2)
    supervised.behave("hang")
    supervised.send(signal.SIGHUP)
    supervised.wait_started(3)
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    assert not any(worker.runs for worker in supervised.started)


def test_while_workers_end_their_sockets_refuse_and_a_second_signal_kills_them(supervise: Supervise) -> None:
    supervised = supervise()
    supervised.behave("linger")
    workers = supervised.wait_ready(2)
    supervised.send(signal.SIGTERM)
    supervised.wait(lambda: not any(is_listening(worker.port) for worker in workers), "refusals")
    assert all(worker.runs for worker in workers)
    assert (supervised.log().count("server.stopping"), supervised.log().count("server.killed")) == (1, 0)
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    assert not any(worker.runs for worker in workers)
    assert (supervised.log().count("server.stopping"), supervised.log().count("server.killed")) == (1, 1)


def test_workers_that_do_not_end_in_time_are_killed(supervise: Supervise) -> None:
    supervised = supervise(patience=0.5)
    supervised.behave("linger")
    workers = supervised.wait_ready(2)
    supervised.send(signal.SIGTERM)
    assert supervised.process.wait(20) == 0
    assert not any(worker.runs for worker in workers)


# --- A gateway's workers -----------------------------------------------------------------------


def test_killing_the_supervisor_ends_its_workers(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(workers=2)
    wait_until(lambda: bool(gateway.spare_pids()), timeout=30, what="a spare", detail=gateway.log)
    pids = [gateway.pid, *gateway.worker_pids(), *gateway.spare_pids()]
    os.kill(gateway.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(runs, pids)), timeout=15, what="the end of the processes", detail=gateway.log)
    assert get_status(f"{gateway.url}/healthz") == 0


def test_two_gateways_without_redis_do_not_share_a_folder(start_gateway: GatewayFactory) -> None:
    first = start_gateway()
    second = GatewayProcess(first.data_dir, first.database_url)
    with pytest.raises(AssertionError, match="Another gateway serves from"):
        second.start()
    assert get_status(f"{first.url}/readyz") == 200
