"""What a process knows of itself: its clocks, its memory, its descriptors."""

import asyncio
import os
import time
from contextlib import closing, suppress

from chatgateway.metrics.process import cpu_seconds, descriptors, resident_bytes, watch_clocks
from connections.metrics import CLOCK, Metrics
from tests.support.waiting import eventually

HOUR = 3600.0


async def test_a_wall_clock_that_jumps_and_a_loop_that_is_late_are_noted() -> None:
    metrics, ahead, seen = Metrics(), 0.0, 0
    watching = asyncio.create_task(watch_clocks(metrics, wall=lambda: time.time() + ahead, every=0.001))

    async def looked() -> bool:
        return sum(metrics.loop_lags.counts) > seen

    async def after_a_look() -> dict[tuple[str, str], int]:
        nonlocal seen
        seen = sum(metrics.loop_lags.counts) + 1  # the one that may be going on, and another
        await eventually(looked, timeout=10, what="two looks")
        return dict(metrics.counts)

    assert await after_a_look() == {}
    ahead = HOUR
    assert await after_a_look() == {(CLOCK, "forth"): 1}
    ahead = 0.5  # less than an hour, more than a second
    assert await after_a_look() == {(CLOCK, "forth"): 1, (CLOCK, "back"): 1}
    ahead = 0.0  # as NTP slews
    assert (await after_a_look())[CLOCK, "back"] == 1
    before = metrics.loop_lags.seconds
    time.sleep(0.3)  # noqa: ASYNC251  the loop is held up on purpose
    await after_a_look()
    assert metrics.loop_lags.seconds - before > 0.2
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def test_descriptors_memory_and_cpu_are_this_process_s() -> None:
    before, limit = descriptors()
    with closing(os.fdopen(os.open(os.devnull, os.O_RDONLY))):
        assert descriptors() == (before + 1, limit)
    assert 10e6 < resident_bytes() < 10e9
    assert cpu_seconds()["user"] > 0
