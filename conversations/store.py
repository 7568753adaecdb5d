"""The writer: one thread per process, group commit, an acknowledgement per item.

Everything that waits is taken together, written in one transaction, and acknowledged after its COMMIT. The store
knows no model: it takes jobs, and a job's class knows how to apply many of its kind at once.

Bounds: `capacity` jobs wait at most (StoreFull at once beyond), `BATCH` of them share a transaction. Reads run in
threads, in two lanes, so that a flood of histories holds up nobody's lease; in each so many wait at most.

A database may hang so that its client never hears of it: a machine that is gone, a disk that stands still. So a batch
is waited for `patience` seconds; then those in it hear that nobody knows, those behind it, and whoever comes while
the thread hangs, that nothing was written. A read is waited for as long, and the threads that it waits for.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Full, SimpleQueue
from typing import Any, ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from conversations.lane import Hangs, Lane
from conversations.transactions import (
    Job,
    OutcomeUnknown,
    Refused,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Unstorable,
    commit,
    outage,
    unavailable,
    unknown,
)

__all__ = [
    "Job",
    "OutcomeUnknown",
    "Refused",
    "Store",
    "StoreClosed",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "Unstorable",
    "commit",
    "patient",
    "unhurried",
]

log = structlog.get_logger(__name__)

BATCH = 500
CAPACITY = 10_000
READERS = 4
WAITING_READS = 1000
# Reads that are marked `unhurried` have a lane of their own: few threads, and few that wait.
UNHURRIED_READERS = 2
WAITING_UNHURRIED = 100
PATIENCE = 4.5  # seconds that a batch or a read is waited for; an error must reach the client within 5 (R11)
LOOK = 0.2  # seconds between two looks whether a batch hangs

P = ParamSpec("P")
R = TypeVar("R")


def unhurried(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a query as one that a client may ask for again and again and that nothing waits for but the client."""
    vars(function)["unhurried"] = True
    return function


def patient(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a query that nobody waits for and that may take long: its end is waited for."""
    vars(function)["patient"] = True
    return function


class Observer:
    """Hears what becomes of reads and writes, in whichever thread; this one does nothing with it."""

    def on_batch(self, results: Sequence[object], seconds: float) -> None:
        """Hear what became of the jobs of one transaction, and how long it took."""

    def on_full(self, what: str) -> None:
        """Hear that something was refused, because too many `reads` or `writes` wait."""


UNOBSERVED = Observer()


Waiting = tuple[Job, "asyncio.Future[Any]"]


class Store:
    """The process's writer and its readers' threads; started by the first loop that uses it."""

    def __init__(
        self, *, capacity: int = CAPACITY, patience: float = PATIENCE, observer: Observer = UNOBSERVED
    ) -> None:
        self._observer = observer
        self._capacity = capacity
        self._patience = patience
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._going: tuple[list[Waiting], float] | None = None  # what the thread is at, and since when
        self._hangs = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._vital = Lane(READERS, WAITING_READS)
        self._unhurried = Lane(UNHURRIED_READERS, WAITING_UNHURRIED)

    @property
    def waiting(self) -> int:
        """The number of jobs submitted and not yet acknowledged."""
        return self._waiting

    def submit(self, job: Job) -> "asyncio.Future[Any]":
        """Queue `job` at once, in call order; the future ends after its COMMIT with the job's result.

        Raises StoreFull or StoreClosed; the future raises Refused or another StoreError.
        """
        if self._closed:
            raise StoreClosed("The server is stopping, please send it again.")
        if self._hangs:
            raise unavailable()
        if self._waiting >= self._capacity:
            self._observer.on_full("writes")
            raise StoreFull("The server is busy, please try again in a moment.")
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="store", daemon=True)
            self._thread.start()
            self._loop.call_later(LOOK, self._look)
        future = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._queue.put((job, future))
        return future

    async def write(self, job: Job) -> Any:
        """Write `job` and return its result after the COMMIT."""
        return await self.submit(job)

    async def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a synchronous query in a thread; StoreFull at once where too many wait for one."""
        if self._closed:
            raise StoreClosed("The server is stopping, please try it again.")

        def run() -> R:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                connection.close()
                raise _unreadable() from error
            finally:
                close_old_connections()

        lane = self._unhurried if getattr(function, "unhurried", False) else self._vital
        try:
            return await lane.run(run, None if getattr(function, "patient", False) else self._patience)
        except Full as error:
            self._observer.on_full("reads")
            raise StoreFull("The server is busy, please try again in a moment.") from error
        except Hangs as error:
            raise _unreadable() from error

    async def stop(self) -> None:
        """Refuse new jobs, write everything that waits, and end the threads."""
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            # The last acknowledgements were handed to this loop just before the thread ended.
            await asyncio.sleep(0)
        self._vital.stop()
        self._unhurried.stop()

    def _look(self) -> None:
        """Tell those who wait, once the thread has been at one batch for too long."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_later(LOOK, self._look)
        batch, since = self._going or ([], math.inf)
        hung, self._hangs = self._hangs, time.monotonic() - since >= self._patience
        if not self._hangs or hung:
            return
        outage.is_on("store.hangs", jobs=len(batch), means="the database does not answer")
        for _, future in batch:
            if not future.done():
                future.set_exception(unknown())
        behind = [(waiting, unavailable()) for waiting in self._take_all()]
        self._observer.on_batch([unknown()] * len(batch) + [unavailable()] * len(behind), self._patience)
        self._settle(behind)

    def _settle(self, settled: Sequence[tuple[Waiting, Any]]) -> None:
        self._waiting -= len(settled)
        for (_, future), result in settled:
            if future.done():  # its owner left, or was told that nobody knows; what was written stays written
                pass
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    # --- In the writer's thread ------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._take():
            batch.sort(key=lambda waiting: waiting[0].rank)
            began = time.monotonic()
            self._going = batch, began
            results = commit([job for job, _ in batch])
            self._going = None
            self._observer.on_batch(results, time.monotonic() - began)
            settled = list(zip(batch, results, strict=True))
            if isinstance(results[0], StoreUnavailable | OutcomeUnknown) and not isinstance(results[0], Unstorable):
                # What came meanwhile has waited on the same database: tell it now, not one time-out later.
                settled += [(waiting, unavailable()) for waiting in self._take_all()]
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._settle, settled)
        connection.close()

    def _take(self) -> list[Waiting]:
        """Wait for a job and take what waits with it; empty once the store has stopped."""
        batch: list[Waiting] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == BATCH or self._queue.empty():
                return batch
            item = self._queue.get()
        if batch:
            self._queue.put(None)  # the stop mark, to be met again after this batch
        return batch

    def _take_all(self) -> list[Waiting]:
        """Take what waits without waiting for more: the thread and the loop may do so at the same moment."""
        taken: list[Waiting] = []
        with suppress(Empty):
            while item := self._queue.get_nowait():
                taken.append(item)
            self._queue.put(None)  # the stop mark
        return taken


def _unreadable() -> StoreUnavailable:
    return StoreUnavailable("The database cannot be read now, please try again.")
