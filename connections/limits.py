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

ALONE = 10.0  # seconds that a process counts on its own before it tries Redis again
REDIS_PATIENCE = 0.5  # seconds that Redis may take: somebody waits for his acknowledgement meanwhile


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
        self._storage = _redis(redis_url) if redis_url else None
        self._shared = MovingWindowRateLimiter(self._storage) if self._storage else None
        self._alone_until = -math.inf  # on the monotonic clock

    async def hit(self, limit: RateLimitItem, what: str, who: str) -> int | None:
        """Count one `what` of `who`; return None where it is admitted, else the seconds to wait."""
        if not self._enabled:
            return None
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                return await _hit(self._shared, limit, what, who)
            except Exception as error:  # noqa: BLE001  Redis's client raises many kinds; this process counts alone then
                self._alone_until = time.monotonic() + ALONE
                log.warning("limits.alone", error=type(error).__name__, means="each process counts on its own")
        return await _hit(self._here, limit, what, who)

    async def close(self) -> None:
        """Leave Redis."""
        if self._storage is not None:
            await self._storage.bridge.get_connection().aclose()


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
