"""Ports for servers under test: never the same twice, never another process's."""

import contextlib
import socket

import pytest

from tests.support.waiting import FIRST_PORT, PORTS, free_port


@pytest.mark.parametrize("worker", [0, 1])
def test_each_process_of_the_suite_has_ports_of_its_own(worker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{worker}")
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert {(port - FIRST_PORT) // PORTS for port in ports} == {worker}


def test_a_port_in_use_is_passed_over() -> None:
    following = free_port() + 1
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # in use by somebody else will do
            other.bind(("127.0.0.1", following))
        assert free_port() != following
