"""How much somebody may do: counted in this process, or in Redis for all of them.

A limiter that cannot reach Redis counts in its own process until it can: a limit is never a reason to refuse
everybody, nor to admit everything. No count hangs on this machine's wall clock, which may be set.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import structlog
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from connections.metrics import LIMIT, Metrics

log = structlog.get_logger(__name__)

ALONE = 10.0  # seconds that a process counts on its own before it tries Redis again
TOLD_FOR = 60.0  # seconds in which the log hears once who is over a limit
TOLD = 10_000  # of so many; then the oldest is told again
REDIS_PATIENCE = 0.5  # seconds that Redis may take: somebody waits for his acknowledgement meanwhile
REDIS_CALLS = 50  # at once, each over a connection; who comes then waits his turn, which is no fault of Redis's
KEPT = 100_000  # counts that a process keeps; then that which was quiet for longest begins anew
PORTIONS = 100  # a limit is taken from Redis in so many portions: a large one must not cost a round trip for each hit
PAUSE = 1.0  # seconds that a refusal is held back from who comes again without waiting
HELD_BACK = 1000  # refusals at once; further ones are told at once
AHEAD = 5.0  # seconds' worth of its allowance that a connection may send at once


@cache
def per_minute(count: int) -> RateLimitItem:
    """Return the limit of `count` a minute."""
    return RateLimitItemPerMinute(count)


@cache
def per_hour(count: int) -> RateLimitItem:
    """Return the limit of `count` an hour."""
    return RateLimitItemPerHour(count)


class _Window(NamedTuple):
    """A sliding window: what was counted in the span before, which fades, and in this one; `left` seconds of it."""

    before: int = 0
    now: int = 0
    left: float = 0.0

    def wait(self, amount: int, seconds: float) -> float:
        """Return the seconds until one more is within `amount` in `seconds`, 0 where it is already."""
        if self.now >= amount:
            return max(self.left, 0.001)
        fades_by = (amount - self.now) * seconds / self.before if self.before else math.inf
        return self.left - fades_by if self.left >= fades_by else 0.0


class _Here:
    """The counts of this process, by its monotonic clock."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, tuple[float, _Window]] = OrderedDict()  # with the end of the span

    def hit(self, key: str, amount: int, seconds: float) -> float:
        """Count one of `key`; return 0, or the seconds until it would be admitted."""
        now = time.monotonic()
        end, window = self._windows.get(key, (now + seconds, _Window()))
        if now >= end + seconds:
            end, window = now + seconds, _Window()
        elif now >= end:
            end, window = end + seconds, _Window(before=window.now)
        window = window._replace(left=end - now)
        if wait := window.wait(amount, seconds):
            return wait
        self._windows[key] = end, window._replace(now=window.now + 1)
        self._windows.move_to_end(key)
        if len(self._windows) > KEPT:
            self._windows.popitem(last=False)
        return 0.0


class _Shared:
    """The counts in Redis, by its clock."""

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme
        scheme = "redis+unix" if scheme == "unix" else scheme
        # A connection that died while idle says so only when used: once more then, at once, over a new one.
        retry: Any = Retry(NoBackoff(), 1)
        self._storage: Any = RedisStorage(
            f"async+{scheme}{url[url.index(':') :]}", implementation="redispy", retry=retry
        )
        self._calls = asyncio.Semaphore(REDIS_CALLS)
        self._refused: OrderedDict[str, float] = OrderedDict()  # until when by the monotonic clock, as Redis told
        self._failed = 0  # how often Redis did
        self._away = False
        self._drawn: OrderedDict[str, int] = OrderedDict()  # what is left of the portions that this process took
        self._drawing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def hit(self, key: str, amount: int, seconds: float) -> float:
        """Count one of `key`; return 0, or the seconds until it would be admitted."""
        if (wait := self._known(key)) is not None:
            return wait
        failed = self._failed
        # One portion at a time: a crowd that comes while it is drawn has a part of it, not a portion each.
        async with self._drawing.setdefault(key, asyncio.Lock()), self._calls:
            if (wait := self._known(key)) is not None:
                return wait
            if failed != self._failed:
                raise ConnectionError("Redis has failed meanwhile")
            try:
                async with asyncio.timeout(REDIS_PATIENCE):
                    wait = await self._draw(key, amount, seconds)
            except Exception as error:
                self._failed += 1
                if not self._away:
                    log.warning("limits.alone", error=type(error).__name__, means="each process counts on its own")
                self._away = True
                raise
            if self._away:
                log.info("limits.shared_again")
            self._away = False
            return wait

    def _known(self, key: str) -> float | None:
        """Answer without Redis, from what was drawn or from what it told of the wait; None where neither does."""
        if self._drawn.get(key):
            return self._take(key)
        left = self._refused.get(key, -math.inf) - time.monotonic()
        return left if left > 0 else None

    async def _draw(self, key: str, amount: int, seconds: float) -> float:
        portion = max(1, amount // PORTIONS)
        if not await self._storage.acquire_sliding_window_entry(key, amount, int(seconds), portion):
            wait = await self._wait(key, amount, seconds)
            self._refused[key] = time.monotonic() + wait
            if len(self._refused) > KEPT:
                self._refused.popitem(last=False)
            return wait
        self._refused.pop(key, None)
        self._drawn[key] = portion
        if len(self._drawn) > KEPT:
            self._drawn.popitem(last=False)
        return self._take(key)

    def _take(self, key: str) -> float:
        """Take one of what was drawn."""
        if left := self._drawn.pop(key) - 1:
            self._drawn[key] = left
        return 0.0

    async def _wait(self, key: str, amount: int, seconds: float) -> float:
        before, before_left, now, now_left = await self._storage.get_sliding_window(key, int(seconds))
        left = now_left - seconds if now >= amount or not before else before_left
        return _Window(before, now, left).wait(amount, seconds) or 1.0

    async def close(self) -> None:
        await self._storage.bridge.get_connection().aclose()


class Limiter:
    """Counts hits; without `enabled` it admits everything."""

    def __init__(self, metrics: Metrics, *, enabled: bool, redis_url: str = "") -> None:
        self._metrics = metrics
        self._enabled = enabled
        self._here = _Here()
        self._shared = _Shared(redis_url) if redis_url else None
        self._alone_until = -math.inf  # on the monotonic clock
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()  # of whom the log has heard lately

    async def hit(self, limit: RateLimitItem, what: str, who: str) -> int | None:
        """Count one `what` of `who`; return None where it is admitted, else the seconds to wait."""
        if not self._enabled:
            return None
        wait = await self._hit(limit.key_for(what, who), limit.amount, limit.get_expiry())
        if not wait:
            return None
        self.reached(what, who, limit)
        return math.ceil(wait)

    def reached(self, what: str, who: str, limit: object) -> None:
        """Count that `who` is over a limit, and note it in the log, once in TOLD_FOR seconds."""
        self._metrics.count(LIMIT, what)
        if self.is_news(what, who):
            log.info("limit.reached", what=what, who=who, limit=str(limit))

    def is_news(self, what: str, who: str) -> bool:
        """Tell whether the log has not heard this of `who` for TOLD_FOR seconds; from now on it has."""
        now = time.monotonic()
        if now - self._told.get((what, who), -math.inf) < TOLD_FOR:
            return False
        self._told.pop((what, who), None)
        if len(self._told) >= TOLD:
            self._told.popitem(last=False)
        self._told[what, who] = now
        return True

    async def _hit(self, key: str, amount: int, seconds: float) -> float:
        if self._shared is not None and time.monotonic() >= self._alone_until:
            try:
                return await self._shared.hit(key, amount, seconds)
            except Exception:  # noqa: BLE001  Redis's client raises many kinds; this process counts alone then
                self._alone_until = time.monotonic() + ALONE
        return self._here.hit(key, amount, seconds)

    async def close(self) -> None:
        """Leave Redis."""
        if self._shared is not None:
            await self._shared.close()


class Allowance:
    """What one connection may send: so many messages and so many bytes a second, together, and AHEAD seconds' worth."""

    __slots__ = ("_per_byte", "_per_message", "_spent_until")

    def __init__(self, messages: float, size: float) -> None:
        self._per_message = 1 / messages
        self._per_byte = 1 / size
        self._spent_until = 0.0  # on the monotonic clock

    def spend(self, size: int) -> float:
        """Take a message of `size`; return 0, or the seconds until it would be taken."""
        now = time.monotonic()
        spent_until = max(now, self._spent_until)
        # One that is larger than all that may be sent at once is taken when nothing else is spent.
        if spent_until > now and (ahead := spent_until - now + self._per_message + size * self._per_byte) > AHEAD:
            return min(ahead - AHEAD, spent_until - now)
        self._spent_until = spent_until + self._per_message + size * self._per_byte
        return 0.0


class Places:
    """How many of something each has at the same time: at most `limit`, with 0 as many as he wants."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def held(self, who: str) -> Iterator[bool]:
        """Hold a place as long as the block lasts; the value tells whether there was one."""
        if self.limit and self._taken[who] >= self.limit:
            yield False
            return
        self._taken[who] += 1
        try:
            yield True
        finally:
            self._taken[who] -= 1
            if not self._taken[who]:
                del self._taken[who]


class Brake:
    """Holds back refusals for a moment: who comes again and again spends his time on it, and not ours."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._held = 0

    async def hold(self) -> None:
        """Return after a pause; at once where HELD_BACK others are held."""
        if self._held >= HELD_BACK:
            return
        self._held += 1
        try:
            await asyncio.sleep(self._pause)
        finally:
            self._held -= 1
