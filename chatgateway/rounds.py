"""What a process does again and again beside what it is asked for."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


async def repeat(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again, about `seconds` apart, also after it failed."""
    failed = False
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  the database is away: the next round tries again
            if not failed:  # it is told once, not every second until it works again
                log.warning("gateway.round_failed", work=work.__name__, error=type(error).__name__, reason=str(error))
            failed = True
        else:
            if failed:
                log.info("gateway.round_works", work=work.__name__)
            failed = False
        # A little apart, so that many workers do not ask at the same moment.
        await asyncio.sleep(seconds * random.uniform(0.9, 1.1))  # noqa: S311  spread, not a secret
