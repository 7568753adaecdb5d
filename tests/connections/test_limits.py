"""How often somebody may do something, in one process and over Redis."""

from uuid import uuid4

from structlog.testing import capture_logs

from connections.limits import Limiter, per_hour, per_minute
from tests.support.databases import ValkeyServer


async def admitted(limiter: Limiter, times: int, who: str) -> list[bool]:
    return [await limiter.hit(per_minute(3), "chat", who) is None for _ in range(times)]


async def test_what_is_too_much_is_told_when_to_come_again() -> None:
    limiter = Limiter(enabled=True)
    assert await admitted(limiter, 3, "ann") == [True] * 3
    wait = await limiter.hit(per_minute(3), "chat", "ann")
    assert wait is not None
    assert 1 <= wait <= 60
    assert await limiter.hit(per_minute(3), "chat", "bob") is None
    assert await limiter.hit(per_minute(3), "login", "ann") is None
    assert await limiter.hit(per_hour(3), "chat", "ann") is None


async def test_the_log_hears_once_of_who_asks_too_often() -> None:
    limiter = Limiter(enabled=True)
    with capture_logs() as logs:
        assert (await admitted(limiter, 50, "ann")).count(False) == 47
        assert (await admitted(limiter, 5, "bob")).count(False) == 2
    assert [(entry["event"], entry["who"]) for entry in logs] == [("limit.reached", "ann"), ("limit.reached", "bob")]


async def test_switched_off_it_admits_everything() -> None:
    assert await admitted(Limiter(enabled=False), 10, "ann") == [True] * 10


async def test_over_redis_several_processes_count_together(valkey: ValkeyServer) -> None:
    who = uuid4().hex
    here, there = (Limiter(enabled=True, redis_url=valkey.url) for _ in range(2))
    assert await admitted(here, 2, who) == [True, True]
    assert await admitted(there, 2, who) == [True, False]
    await here.close()
    await there.close()


async def test_without_its_redis_a_process_counts_alone_and_says_so_once() -> None:
    limiter = Limiter(enabled=True, redis_url="redis://127.0.0.1:1/0")
    with capture_logs() as logs:
        assert await admitted(limiter, 4, "ann") == [True, True, True, False]
    assert [entry["event"] for entry in logs] == ["limits.alone", "limit.reached"]
    await limiter.close()
