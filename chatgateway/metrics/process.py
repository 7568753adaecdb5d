"""What the operating system and the event loop know of this process."""

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from connections.metrics import CLOCK, Metrics

EVERY = 0.25  # seconds between two appointments of the loop
JUMP = 1.0  # seconds that the wall clock may move against the monotonic one without a jump; NTP moves it by less
_STATM = Path("/proc/self/statm")


def resident_bytes() -> float:
    """Return this process's memory; the most that it ever had, where the system does not say."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * float(resource.getpagesize())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)


def descriptors() -> tuple[float, float]:
    """Return how many files and sockets this process has open, and how many it may."""
    return float(sum(1 for _ in Path("/dev/fd").iterdir())), float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def cpu_seconds() -> dict[str, float]:
    """Return the CPU time that this process has had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"user": used.ru_utime, "system": used.ru_stime}


async def watch_clocks(metrics: Metrics, *, wall: Callable[[], float] = time.time, every: float = EVERY) -> None:
    """Note how late the loop is, and when the wall clock jumps, until cancelled."""
    loop = asyncio.get_running_loop()
    offset = wall() - time.monotonic()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        metrics.loop_lags.observe(max(0.0, loop.time() - due))
        before, offset = offset, wall() - time.monotonic()
        if abs(offset - before) > JUMP:
            metrics.count(CLOCK, "forth" if offset > before else "back")
