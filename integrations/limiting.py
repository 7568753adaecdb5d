"""Limits on a wire: what is over one is refused, and who is refused too often is sent away."""

import time
from collections import deque

from limits import RateLimitItem

from connections.limits import Limiter
from integrations.errors import Limited


async def admit(limiter: Limiter, limit: RateLimitItem, what: str, who: str) -> None:
    """Count one `what` of `who`, such as `contact.message` of a session; raise Limited where that is too much."""
    wait = await limiter.hit(limit, what, who)
    if wait is not None:
        raise Limited(wait)


class Strikes:
    """What one connection was forgiven: `count` times within `seconds` are too often."""

    def __init__(self, count: int, seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=count)
        self._seconds = seconds

    def are_out(self) -> bool:
        """Note that it happened now; tell whether that was once too often."""
        now = time.monotonic()
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds
