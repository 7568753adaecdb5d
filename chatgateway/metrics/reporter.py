"""Tells the numbers of this machine's workers, whichever of them is asked."""

import asyncio
import time

import structlog

from chatgateway.metrics.exposition import expose
from chatgateway.metrics.readings import Readings
from chatgateway.metrics.shelf import Shelf
from chatgateway.metrics.snapshot import Snapshot, Totals, combined, together

log = structlog.get_logger(__name__)

EVERY = 1.0  # seconds between two reports


class Reporter:
    """One worker's reports, and its view of all of them."""

    def __init__(self, shelf: Shelf, readings: Readings, *, version: str) -> None:
        self._shelf = shelf
        self._readings = readings
        self._version = version
        self._reporting = asyncio.Lock()  # or an older report could take the place of a newer one
        self._failed = False

    async def report(self) -> Snapshot:
        """Put this worker's numbers where the others find them, and return them."""
        async with self._reporting:
            snapshot = self._readings.snapshot()
            try:
                await asyncio.to_thread(self._shelf.put, snapshot)
            except OSError as error:
                if not self._failed:
                    log.warning("metrics.not_written", reason=str(error), means="/metrics tells of one worker only")
                self._failed = True
            else:
                self._failed = False
            return snapshot

    async def tell(self, accept: str) -> tuple[bytes, str]:
        """Return the numbers of all workers as text, and its content type, chosen by an Accept header."""
        own = await self.report()
        try:
            ended, others = await asyncio.to_thread(self._shelf.look)
        except OSError:  # `report` has told
            ended, others = Totals(), []
        live = [own, *others]
        totals = together([ended, *(snapshot.totals for snapshot in live)])
        return expose(totals, combined(live, time.monotonic()), version=self._version, accept=accept)

    async def stop(self) -> None:
        """Report for the last time, and count as ended."""
        await self.report()
        self._shelf.leave()
