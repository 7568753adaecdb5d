"""Wake-ups of staff's pages: many changes at once are one."""

import asyncio
from collections.abc import Callable

from chatgateway.live.events import Changed, StaffTopic, What

APART = 0.2  # seconds between two wake-ups of one kind by this process


class Wakes:
    """Tells staff's pages, in every process, that what they show is out of date; of the gateway's loop only."""

    def __init__(self, publish: Callable[[StaffTopic, Changed], None], *, apart: float = APART) -> None:
        self._publish = publish
        self._apart = apart
        self._pending: dict[What, bool] = {}  # kinds told lately, and whether they changed again since

    def note(self, what: What) -> None:
        """Tell of a change now, or where one was told just before, once after it."""
        if what in self._pending:
            self._pending[what] = True
            return
        self._pending[what] = False
        self._publish(StaffTopic(), Changed(what))
        asyncio.get_running_loop().call_later(self._apart, self._again, what)

    def _again(self, what: What) -> None:
        if self._pending.pop(what):
            self.note(what)
