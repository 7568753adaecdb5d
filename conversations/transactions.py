"""Jobs, and the transactions that write them: what is written together, and what a client is told where it is not."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from psycopg_pool import PoolTimeout

log = structlog.get_logger(__name__)


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


class Outage:
    """Tells the log why writes fail, each reason once, and once when they work again."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def is_on(self, event: str, *, jobs: int, **why: str | None) -> None:
        """Hear that writes fail."""
        if (reason := f"{event} {why}") not in self._told:
            self._told.add(reason)
            log.warning(event, jobs=jobs, **why)

    def is_over(self) -> None:
        """Hear that a write was committed."""
        if self._told:
            self._told.clear()
            log.info("store.available")


outage = Outage()  # of this process's database, for every thread that writes


def unavailable() -> StoreUnavailable:
    """Return the error of a write that did not happen."""
    return StoreUnavailable("The database cannot be written now, please try again.")


def unknown() -> OutcomeUnknown:
    """Return the error of a write of which nobody knows whether it happened."""
    return OutcomeUnknown("It is not known whether this was stored; it may be sent again with the same id.")


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
    except DatabaseError as error:
        state = getattr(error.__cause__, "sqlstate", None)
        if not isinstance(error, (OperationalError, InterfaceError)) and state != _READ_ONLY:
            raise
        connection.close()
        why = {"error": type(error).__name__, "state": state, "reason": _reason(error)}
        if applied:
            outage.is_on("store.outcome_unknown", jobs=len(jobs), **why)
            raise unknown() from error
        if state in _CONFLICTS and len(jobs) > 1:
            raise
        if connection.vendor == "postgresql" and not fresh and not _has_waited(error):
            # A connection that died while idle says so only when used; the pool's others may have died with it.
            if pool := getattr(connection, "pool", None):
                pool.check()
            return _transaction(jobs, fresh=True)
        outage.is_on("store.unavailable", jobs=len(jobs), **why)
        raise unavailable() from error
    outage.is_over()
    return results


def _reason(error: DatabaseError) -> str | None:
    """Return what the database says, where that is of itself: other errors may say a row's values."""
    if not isinstance(error, (OperationalError, InterfaceError)):
        return None
    return next(iter(str(error).splitlines()), "")


def _has_waited(error: DatabaseError) -> bool:
    """Tell whether the transaction waited for a lock, or for a connection, as long as it may: not once more then."""
    cause = error.__cause__
    return isinstance(cause, PoolTimeout) or getattr(cause, "sqlstate", None) == _LOCK_TIMEOUT


def _applied_by(job: Job) -> Any:
    """Return the function that applies the job, which is one for all classes that inherit it."""
    apply: Any = job.apply
    return apply.__func__


# PostgreSQL's SQLSTATEs: serialisation failure and deadlock; lock_timeout; a server that takes no writes.
_CONFLICTS = {"40001", "40P01"}
_LOCK_TIMEOUT = "55P03"
_READ_ONLY = "25006"
