"""How often somebody may do something, in one process and over Redis."""

import asyncio
import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from limits import RateLimitItemPerSecond
from structlog.testing import capture_logs

from connections import limits
from connections.limits import (
    AHEAD,
    HELD_BACK,
    PORTIONS,
    REDIS_CALLS,
    Allowance,
    Brake,
    Limiter,
    Places,
    per_hour,
    per_minute,
)
from connections.metrics import LIMIT, Metrics
from tests.faults.proxy import FaultyProxy
from tests.support.databases import ValkeyServer
from tests.support.waiting import eventually


async def admitted(limiter: Limiter, times: int, who: str) -> list[bool]:
    return [await limiter.hit(per_minute(3), "chat", who) is None for _ in range(times)]


async def test_what_is_too_much_is_told_when_to_come_again() -> None:
    limiter = Limiter(Metrics(), enabled=True)
    assert await admitted(limiter, 3, "ann") == [True] * 3
    wait = await limiter.hit(per_minute(3), "chat", "ann")
    assert wait is not None
    assert 1 <= wait <= 60
    assert await limiter.hit(per_minute(3), "chat", "bob") is None
    assert await limiter.hit(per_minute(3), "login", "ann") is None
    assert await limiter.hit(per_hour(3), "chat", "ann") is None


async def test_the_log_hears_once_of_who_asks_too_often() -> None:
    limiter = Limiter(Metrics(), enabled=True)
    with capture_logs() as logs:
        assert (await admitted(limiter, 50, "ann")).count(False) == 47
        assert (await admitted(limiter, 5, "bob")).count(False) == 2
    assert [(entry["event"], entry["who"]) for entry in logs] == [("limit.reached", "ann"), ("limit.reached", "bob")]


async def test_what_is_over_a_limit_is_counted_each_time() -> None:
    metrics = Metrics()
    await admitted(Limiter(metrics, enabled=True), 5, "ann")
    assert metrics.counts == {(LIMIT, "chat"): 2}


async def test_what_was_counted_fades() -> None:
    limiter, limit = Limiter(Metrics(), enabled=True), RateLimitItemPerSecond(4)
    for _ in range(4):
        assert await limiter.hit(limit, "chat", "ann") is None
    began = time.monotonic()
    assert await limiter.hit(limit, "chat", "ann") == 1

    async def is_admitted() -> bool:
        return await limiter.hit(limit, "chat", "ann") is None

    await eventually(is_admitted, timeout=10, what="room for one more")
    assert time.monotonic() - began >= 0.9  # not before those before it are old
    # They fade one after another, not all at once.
    assert (await limiter.hit(limit, "chat", "ann"), await limiter.hit(limit, "chat", "ann")).count(None) < 2


async def test_only_so_many_are_counted_and_the_one_that_was_quiet_for_longest_is_forgotten() -> None:
    limiter = Limiter(Metrics(), enabled=True)
    for who in ("ann", "bob"):
        await admitted(limiter, 3, who)
    for number in range(limits.KEPT - 1):
        await limiter.hit(per_minute(3), "chat", f"another {number}")
    assert await admitted(limiter, 1, "bob") == [False]
    assert await admitted(limiter, 1, "ann") == [True]


async def test_switched_off_it_admits_everything() -> None:
    assert await admitted(Limiter(Metrics(), enabled=False), 10, "ann") == [True] * 10


async def test_over_redis_several_processes_count_together(valkey: ValkeyServer) -> None:
    who = uuid4().hex
    here, there = (Limiter(Metrics(), enabled=True, redis_url=valkey.url) for _ in range(2))
    assert await admitted(here, 2, who) == [True, True]
    assert await admitted(there, 2, who) == [True, False]
    await here.close()
    await there.close()


async def test_over_redis_a_large_limit_is_shared_to_within_a_portion(valkey: ValkeyServer) -> None:
    who, limit = uuid4().hex, per_minute(10 * PORTIONS)
    here, there = (Limiter(Metrics(), enabled=True, redis_url=valkey.url) for _ in range(2))
    taken = 0
    for _ in range(limit.amount):
        for limiter in (here, there):
            taken += await limiter.hit(limit, "chat", who) is None
    assert limit.amount - 10 <= taken <= limit.amount
    await here.close()
    await there.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis take its time: how fast it is on a full machine is not what a flood is to show."""
    monkeypatch.setattr(limits, "REDIS_PATIENCE", 10.0)


async def test_over_redis_a_crowd_that_comes_at_once_is_admitted_whole(valkey: ValkeyServer, patient: None) -> None:
    who, limit = uuid4().hex, per_minute(10 * PORTIONS)
    limiter = Limiter(Metrics(), enabled=True, redis_url=valkey.url)
    crowd = PORTIONS * 3 // 2  # a portion for each would be more than there is
    with capture_logs() as logs:
        waits = await asyncio.gather(*(limiter.hit(limit, "call", who) for _ in range(crowd)))
    assert not any(waits)
    assert not logs, "Redis was asked"
    await limiter.close()


async def test_over_redis_many_are_counted_at_once(valkey: ValkeyServer, patient: None) -> None:
    limiter = Limiter(Metrics(), enabled=True, redis_url=valkey.url)
    with capture_logs() as logs:
        waits = await asyncio.gather(*(limiter.hit(per_minute(3), "chat", uuid4().hex) for _ in range(3 * REDIS_CALLS)))
    assert not any(waits)
    assert not logs, "Redis was asked"
    await limiter.close()


async def test_over_redis_a_flood_over_a_limit_is_refused_and_no_outage(valkey: ValkeyServer, patient: None) -> None:
    who, limit = uuid4().hex, per_minute(2 * REDIS_CALLS)
    limiter = Limiter(Metrics(), enabled=True, redis_url=valkey.url)
    with capture_logs() as logs:
        waits = await asyncio.gather(*(limiter.hit(limit, "call", who) for _ in range(4 * REDIS_CALLS)))
    assert waits.count(None) == 2 * REDIS_CALLS
    assert [entry["event"] for entry in logs] == ["limit.reached"]
    await limiter.close()


async def test_over_redis_what_is_too_much_is_told_when_to_come_again(valkey: ValkeyServer) -> None:
    who = uuid4().hex
    limiter = Limiter(Metrics(), enabled=True, redis_url=valkey.url)
    await admitted(limiter, 3, who)
    wait = await limiter.hit(per_minute(3), "chat", who)
    assert wait is not None
    assert 50 <= wait <= 60
    await limiter.close()


async def test_a_redis_that_stalls_holds_nobody_up_and_nobody_goes_uncounted(valkey: ValkeyServer) -> None:
    with FaultyProxy(urlsplit(valkey.url).port or 0) as proxy:
        limiter = Limiter(Metrics(), enabled=True, redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        who = uuid4().hex
        assert await admitted(limiter, 1, who) == [True]
        proxy.stall()
        began = time.monotonic()
        assert await admitted(limiter, 4, who) == [True, True, True, False]  # counted here, from now on
        assert time.monotonic() - began < 8 * limits.REDIS_PATIENCE  # once, not each time
        await limiter.close()


async def test_without_its_redis_a_process_counts_alone_and_says_so_once() -> None:
    limiter = Limiter(Metrics(), enabled=True, redis_url="redis://127.0.0.1:1/0")
    with capture_logs() as logs:
        assert await admitted(limiter, 4, "ann") == [True, True, True, False]
    assert [entry["event"] for entry in logs] == ["limits.alone", "limit.reached"]
    await limiter.close()


async def test_connections_that_died_while_nobody_used_them_are_no_outage(valkey: ValkeyServer) -> None:
    with FaultyProxy(urlsplit(valkey.url).port or 0) as proxy:
        limiter = Limiter(Metrics(), enabled=True, redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        await asyncio.gather(*(admitted(limiter, 1, uuid4().hex) for _ in range(5)))
        proxy.cut()
        with capture_logs() as logs:
            await asyncio.gather(*(admitted(limiter, 1, uuid4().hex) for _ in range(5)))
        assert logs == []
        await limiter.close()


async def test_an_outage_of_redis_is_told_once_and_so_is_its_end(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALONE", 0.0)  # it is tried each time
    with FaultyProxy(urlsplit(valkey.url).port or 0) as proxy:
        limiter = Limiter(Metrics(), enabled=True, redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        with capture_logs() as logs:
            proxy.refuse()
            for _ in range(3):
                await admitted(limiter, 1, uuid4().hex)
            proxy.accept()
            for _ in range(3):
                await admitted(limiter, 1, uuid4().hex)
        assert [entry["event"] for entry in logs] == ["limits.alone", "limits.shared_again"]
        await limiter.close()


# --- One connection ----------------------------------------------------------------------------


def test_a_connection_may_send_so_many_messages_at_once_and_then_waits() -> None:
    allowance = Allowance(messages=10, size=1e9)
    waits = [allowance.spend(1) for _ in range(int(AHEAD * 10) + 2)]
    assert waits[: int(AHEAD * 10) - 1] == [0.0] * (int(AHEAD * 10) - 1)
    assert 0 < waits[-1] <= 0.2


def test_a_connection_may_send_so_many_bytes_at_once_and_then_waits() -> None:
    allowance = Allowance(messages=1e9, size=1000)
    assert allowance.spend(int(AHEAD * 1000) - 100) == 0.0
    wait = allowance.spend(600)
    assert 0.3 < wait < 0.6
    assert allowance.spend(50) == 0.0  # what was refused was not counted


def test_a_message_larger_than_all_that_may_come_at_once_is_taken_after_a_pause() -> None:
    allowance = Allowance(messages=1e9, size=1000)
    assert allowance.spend(100_000) == 0.0
    assert 90 < allowance.spend(100_000) <= 100


# --- Places ------------------------------------------------------------------------------------


def test_there_are_so_many_places_for_each_and_they_are_given_back() -> None:
    places = Places(1)
    with places.held("ann") as first:
        with places.held("ann") as second, places.held("bob") as other:
            assert (first, second, other) == (True, False, True)
        with places.held("ann") as still:
            assert not still
    with places.held("ann") as again:
        assert again


def test_without_a_limit_there_is_room_for_everybody() -> None:
    places = Places(0)
    with places.held("ann") as first, places.held("ann") as second:
        assert first
        assert second


async def test_so_many_refusals_are_held_back_and_further_ones_are_not() -> None:
    brake = Brake(pause=0.2)
    began = time.monotonic()
    held = [asyncio.create_task(brake.hold()) for _ in range(HELD_BACK)]
    await asyncio.sleep(0)
    await brake.hold()
    assert not any(task.done() for task in held)
    held.pop().cancel()
    await asyncio.gather(*held)
    assert time.monotonic() - began >= 0.2
    again = asyncio.create_task(brake.hold())
    await asyncio.sleep(0)
    assert not again.done()
    await again
