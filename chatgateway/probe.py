"""Whether the database can be written, asked once for all who want to know."""

import asyncio
import time
from collections.abc import Awaitable, Callable

GOOD_FOR = 0.2  # seconds that "yes" is good for: probes come from outside, and as often as anybody likes


class Probe:
    """Does `attempt` for whoever comes while it is under way, and no more often than every GOOD_FOR seconds."""

    def __init__(self, attempt: Callable[[], Awaitable[object]]) -> None:
        self._attempt = attempt
        self._under_way: asyncio.Task[None] | None = None
        self._good_until = 0.0  # on the monotonic clock

    async def check(self) -> None:
        """Return where the attempt succeeded; raise what it raised."""
        if time.monotonic() < self._good_until:
            return
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().create_task(self._try())
            self._under_way.add_done_callback(_heed)
        await asyncio.shield(self._under_way)

    async def _try(self) -> None:
        await self._attempt()
        self._good_until = time.monotonic() + GOOD_FOR


def _heed(task: asyncio.Task[None]) -> None:
    """Look at what was raised: all who asked may have left, and the loop would complain."""
    if not task.cancelled():
        task.exception()
