"""What a process does again and again beside what it is asked for."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


class Rounds:
    """Tells the log of `what` is done again and again: once when it fails, and once when it works again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed = False

    def note(self, error: Exception | None) -> None:
        """Hear how one round went."""
        if error is not None and not self._failed:
            log.warning("background.failed", what=self._what, error=type(error).__name__, reason=str(error))
        elif error is None and self._failed:
            log.info("background.works", what=self._what)
        self._failed = error is not None


async def repeat(seconds: float, what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, which the log calls `what`, again and again, about `seconds` apart, also after it failed."""
    rounds = Rounds(what)
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  the database is away: the next round tries again
            rounds.note(error)
        else:
            rounds.note(None)
        # A little apart, so that many workers do not ask at the same moment.
        await asyncio.sleep(seconds * random.uniform(0.9, 1.1))  # noqa: S311  spread, not a secret
