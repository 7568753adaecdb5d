"""What every harness of another process needs: a bounded wait, and a port that is free."""

import asyncio
import contextlib
import itertools
import os
import socket
import time
from collections.abc import Awaitable, Callable

# Not the ports that Linux hands out: one of those may go to somebody else before our server starts, or while it is
# killed. Each process of a suite has its own, and two suites on one machine rarely begin at the same.
FIRST_PORT = 20_000
PORTS = 1_000
_STEPS = itertools.count(os.getpid())


def wait_until(
    condition: Callable[[], bool], *, timeout: float, what: str, detail: Callable[[], str] = lambda: ""
) -> None:
    """Return once `condition()` holds; fail after `timeout` seconds, naming `what`, with `detail()`."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} was not there after {timeout} s. {detail()}".strip())
        time.sleep(0.02)  # between two looks at another process, which cannot tell us


async def eventually(condition: Callable[[], Awaitable[bool]], *, timeout: float, what: str) -> None:
    """Return once `await condition()` holds; fail after `timeout` seconds, naming `what`."""
    end = time.monotonic() + timeout
    while not await condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        await asyncio.sleep(0.05)  # between two looks at another process, which cannot tell us


def is_listening(port: int) -> bool:
    """Tell whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a loopback port that nobody listens on now, and that this suite has not given to anybody else."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for step in itertools.islice(_STEPS, PORTS):
        port = FIRST_PORT + worker * PORTS + step % PORTS
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"none of {PORTS} ports is free")
