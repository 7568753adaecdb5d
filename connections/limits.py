"""How often somebody may do something: counted in this process, or in Redis for all of them.

A limiter that cannot reach Redis counts in its own process until it can: a limit is never a reason to refuse
everybody, nor to admit everything.
"""

import math
import time
from typing import Any
from urllib.parse import urlsplit

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

log = structlog.get_logger(__name__)


def per_minute(count: int) -> RateLimitItem:
    """Return the limit of `count` a minute."""
    return RateLimitItemPerMinute(count)


def per_hour(count: int) -> RateLimitItem:
    """Return the limit of `count` an hour."""
    return RateLimitItemPerHour(count)


class Limiter:
    """Counts hits; without `enabled` it admits everything."""

    def __init__(self, *, enabled: bool, redis_url: str = "") -> None:
        self._enabled = enabled
        self._here = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_redis(redis_url)) if redis_url else None
        self._away = False

    async def hit(self, limit: RateLimitItem, what: str, who: str) -> int | None:
        """Count one `what` of `who`; return None where it is admitted, else the seconds to wait."""
        if not self._enabled:
            return None
        if self._shared is not None:
            try:
                wait = await _hit(self._shared, limit, what, who)
            except Exception as error:  # noqa: BLE001  Redis's client raises many kinds; this process counts alone then
                self._failed(error)
            else:
                self._away = False
                return wait
        return await _hit(self._here, limit, what, who)

    def _failed(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            log.warning("limits.alone", error=type(error).__name__, means="each process counts on its own")


async def _hit(counter: MovingWindowRateLimiter, limit: RateLimitItem, what: str, who: str) -> int | None:
    if await counter.hit(limit, what, who):
        return None
    window = await counter.get_window_stats(limit, what, who)
    return max(1, math.ceil(window.reset_time - time.time()))


def _redis(url: str) -> Any:
    scheme = urlsplit(url).scheme
    return RedisStorage(
        f"async+{'redis+unix' if scheme == 'unix' else scheme}{url[len(scheme) :]}", implementation="redispy"
    )
