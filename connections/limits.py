"""How often somebody may do something: counted in this process, or in Redis for all of them.

A limiter that cannot reach Redis counts in its own process until it can: a limit is never a reason to refuse
everybody, nor to admit everything.
"""

import math
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

log = structlog.get_logger(__name__)

ALONE = 10.0  # seconds that a process counts on its own before it tries Redis again
TOLD_FOR = 60.0  # seconds in which the log hears once who is over a limit
TOLD = 10_000  # of so many; then the oldest is told again
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
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()  # of whom the log has heard lately

    async def hit(self, limit: RateLimitItem, what: str, who: str) -> int | None:
        """Count one `what` of `who`; return None where it is admitted, else the seconds to wait."""
        wait = await self._hit(limit, what, who) if self._enabled else None
        if wait is not None:
            self._tell(limit, what, who)
        return wait

    async def _hit(self, limit: RateLimitItem, what: str, who: str) -> int | None:
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                return await _hit(self._shared, limit, what, who)
            except Exception as error:  # noqa: BLE001  Redis's client raises many kinds; this process counts alone then
                self._alone_until = time.monotonic() + ALONE
                log.warning("limits.alone", error=type(error).__name__, means="each process counts on its own")
        return await _hit(self._here, limit, what, who)

    def _tell(self, limit: RateLimitItem, what: str, who: str) -> None:
        """Note in the log who is over a limit, once in TOLD_FOR seconds."""
        now = time.monotonic()
        if now - self._told.get((what, who), -TOLD_FOR) < TOLD_FOR:
            return
        self._told.pop((what, who), None)
        if len(self._told) >= TOLD:
            self._told.popitem(last=False)
        self._told[what, who] = now
        log.info("limit.reached", what=what, who=who, limit=str(limit))

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
