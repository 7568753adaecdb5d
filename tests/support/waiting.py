"""What every harness of another process needs: a bounded wait, and a port that is free."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable


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
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
