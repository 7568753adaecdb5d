"""The writer: one thread per process, group commit, an acknowledgement per item.

Everything that waits is taken together, written in one transaction, and acknowledged after its COMMIT. The store
knows no model: it takes jobs, and a job's class knows how to apply many of its kind at once.

Bounds: `capacity` jobs wait at most (StoreFull at once beyond), `BATCH` of them share a transaction, and a job hears
an error at the latest one lock time-out after the batch it was waiting behind. Reads run in threads, in two lanes, so
that a flood of histories holds up nobody's lease; in each so many wait at most.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from queue import SimpleQueue
from typing import Any, ClassVar, ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction

log = structlog.get_logger(__name__)

BATCH = 500
CAPACITY = 10_000
READERS = 4
WAITING_READS = 1000
# Reads that are marked `unhurried` have a lane of their own: few threads, and few that wait.
UNHURRIED_READERS = 2
WAITING_UNHURRIED = 100

P = ParamSpec("P")
R = TypeVar("R")


class StoreError(Exception):
    """A write did not happen, or may not have; its text is fit for a client."""


class StoreFull(StoreError):  # noqa: N818  names a state, as queue.Full does
    """Too many writes are waiting; nothing was written."""


class StoreUnavailable(StoreError):  # noqa: N818  names a state
    """The database cannot be written now; nothing was written."""


class Unstorable(StoreUnavailable):
    """The database works and will not take this job, whenever it is sent; nothing was written."""


class OutcomeUnknown(StoreError):  # noqa: N818  names a state
    """The commit was cut off: it may or may not have happened. The same id may be sent again."""


class StoreClosed(StoreError):  # noqa: N818  names a state
    """The process is stopping; nothing was written."""


class Refused(Exception):  # noqa: N818  an answer, not a fault
    """A job was looked at and not done, for the reason in its text; nothing was written for it."""


class Job:
    """Something to write. Subclasses are frozen msgspec structs or dataclasses.

    Jobs of one batch are applied by class, lower `rank` first; within a class in the order they were submitted.
    Classes that inherit one `apply`, and whose ranks stand together, are handed to it together.
    """

    rank: ClassVar[int] = 50

    @classmethod
    def apply(cls, jobs: Sequence[Any]) -> Sequence[Any]:
        """Write all `jobs` and return one result for each, in order; a Refused among them fails only its own job.

        Runs inside a transaction, perhaps more than once: it must have no effect outside the database.
        """
        raise NotImplementedError


def unhurried(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a query as one that a client may ask for again and again and that nothing waits for but the client."""
    vars(function)["unhurried"] = True
    return function


class _Lane:
    """Threads that read, and how many reads may wait for them."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._room = threads + waiting

    def run(self, function: Callable[[], R]) -> "asyncio.Future[R]":
        """Run `function` in a thread; StoreFull where too many wait. Who cancels has left: it runs all the same."""
        if not self._room:
            raise StoreFull("The server is busy, please try again in a moment.")
        self._room -= 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        future.add_done_callback(self._leave)
        return asyncio.shield(future)

    def _leave(self, future: "asyncio.Future[Any]") -> None:
        self._room += 1
        if not future.cancelled():
            future.exception()  # looked at: where the asker has left, nobody else will

    def stop(self) -> None:
        """Wait for what runs, and end the threads."""
        self._threads.shutdown(wait=True)


Waiting = tuple[Job, "asyncio.Future[Any]"]


class Store:
    """The process's writer and its readers' threads; started by the first loop that uses it."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._vital = _Lane(READERS, WAITING_READS)
        self._unhurried = _Lane(UNHURRIED_READERS, WAITING_UNHURRIED)

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
        if self._waiting >= self._capacity:
            raise StoreFull("The server is busy, please try again in a moment.")
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="store", daemon=True)
            self._thread.start()
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
                raise StoreUnavailable("The database cannot be read now, please try again.") from error
            finally:
                close_old_connections()

        lane = self._unhurried if getattr(function, "unhurried", False) else self._vital
        return await lane.run(run)

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

    def _settle(self, settled: Sequence[tuple[Waiting, Any]]) -> None:
        self._waiting -= len(settled)
        for (_, future), result in settled:
            if future.done():  # its owner left; what was written stays written
                pass
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    # --- In the writer's thread ------------------------------------------------------------------

    def _work(self) -> None:
        while batch := self._take():
            batch.sort(key=lambda waiting: waiting[0].rank)
            results = commit([job for job, _ in batch])
            settled = list(zip(batch, results, strict=True))
            if isinstance(results[0], StoreUnavailable) and not isinstance(results[0], Unstorable):
                # What came meanwhile has waited on the same database: tell it now, not one time-out later.
                settled += [(waiting, results[0]) for waiting in self._take_all()]
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
        taken: list[Waiting] = []
        while not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)
                break
            taken.append(item)
        return taken


def commit(jobs: Sequence[Job]) -> list[Any]:
    """Apply `jobs` in one transaction in this thread; return a result or an exception for each.

    A job that breaks the transaction (a constraint, bad data) must not take the others with it: then each is tried
    in a transaction of its own. A database that cannot be reached or locked fails all of them.
    """
    try:
        return _transaction(jobs)
    except StoreError as error:
        return [error] * len(jobs)
    except Exception as error:
        if len(jobs) > 1:
            return _one_by_one(jobs)
        log.exception("store.job_failed", job=type(jobs[0]).__name__)
        failed = Unstorable("This could not be stored.")
        failed.__cause__ = error
        return [failed]


def _one_by_one(jobs: Sequence[Job]) -> list[Any]:
    """Apply each job in a transaction of its own; once the database is away, the rest hear so without waiting."""
    results: list[Any] = []
    for job in jobs:
        before = results[-1] if results else None
        away = isinstance(before, StoreUnavailable) and not isinstance(before, Unstorable)
        results += [before] if away else commit([job])
    return results


def _transaction(jobs: Sequence[Job], *, fresh: bool = False) -> list[Any]:
    results: list[Any] = []
    applied = False
    try:
        with transaction.atomic():
            for _, group in groupby(jobs, key=_applied_by):
                together = list(group)
                results.extend(together[0].apply(together))
            applied = True
    except (OperationalError, InterfaceError) as error:
        connection.close()
        state = getattr(error.__cause__, "sqlstate", None)
        if applied:
            raise OutcomeUnknown(
                "It is not known whether this was stored; it may be sent again with the same id."
            ) from error
        if state in _CONFLICTS and len(jobs) > 1:
            raise
        if connection.vendor == "postgresql" and state != _LOCK_TIMEOUT and not fresh:
            # A connection that died while idle says so only when used; the pool's others may have died with it.
            if pool := getattr(connection, "pool", None):
                pool.check()
            return _transaction(jobs, fresh=True)
        log.warning("store.unavailable", jobs=len(jobs), error=type(error).__name__, state=state)
        raise StoreUnavailable("The database cannot be written now, please try again.") from error
    return results


def _applied_by(job: Job) -> Any:
    """Return the function that applies the job, which is one for all classes that inherit it."""
    apply: Any = job.apply
    return apply.__func__


# PostgreSQL's SQLSTATEs: serialisation failure and deadlock; lock_timeout.
_CONFLICTS = {"40001", "40P01"}
_LOCK_TIMEOUT = "55P03"
