"""The writes of who is here, as jobs for the writer: each applies all of its kind in a few statements."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Exists, F, OuterRef
from django.utils import timezone

from connections.clients import ClientJob, Locked
from connections.models import Connection, HubClient, Worker

PURGED_AT_ONCE = 1000  # connections that are forgotten in one transaction
LONGEST_REASON = 123  # bytes of a close frame's reason (RFC 6455, 5.5)
LOST = 1006  # the close code of a socket that ended without one


class ConnectionRow(msgspec.Struct, frozen=True):
    """A connection as it opens."""

    uuid: UUID
    worker: UUID
    wire: str
    pipeline: UUID | None
    session: UUID | None
    session_type: str
    application: UUID | None
    address: str
    user_agent: str
    connected_at: datetime
    client: str = ""


class Activity(msgspec.Struct, frozen=True):
    """A connection's counters since it opened."""

    uuid: UUID
    last_active: datetime
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int


class Open(msgspec.Struct, frozen=True):
    """Store a connection."""

    rank: ClassVar[int] = 0
    row: ConnectionRow

    @classmethod
    def apply(cls, jobs: Sequence["Open"]) -> Sequence[None]:
        _insert([job.row for job in jobs])
        return [None] * len(jobs)


class Rename(msgspec.Struct, frozen=True):
    """Note who turned out to be at the other end of a connection, and in which session."""

    rank: ClassVar[int] = 60
    uuid: UUID
    client: str
    session: UUID

    @classmethod
    def apply(cls, jobs: Sequence["Rename"]) -> Sequence[None]:
        _update(("client", "session"), [(job.client, _uuid(job.session), _uuid(job.uuid)) for job in jobs])
        return [None] * len(jobs)


class Touch(msgspec.Struct, frozen=True):
    """Note what connections have done."""

    rank: ClassVar[int] = 70
    activities: tuple[Activity, ...]

    @classmethod
    def apply(cls, jobs: Sequence["Touch"]) -> Sequence[None]:
        _update(_COUNTERS, [_counters(activity) for job in jobs for activity in job.activities])
        return [None] * len(jobs)


class Close(msgspec.Struct, frozen=True):
    """Note that a connection ended, and how."""

    rank: ClassVar[int] = 80
    activity: Activity
    code: int
    reason: str

    @classmethod
    def apply(cls, jobs: Sequence["Close"]) -> Sequence[None]:
        time = _time(timezone.now())
        ends = [(time, job.code, job.reason[:LONGEST_REASON], *_counters(job.activity)) for job in jobs]
        _update(("ended_at", "close_code", "close_reason", *_COUNTERS), ends)
        return [None] * len(jobs)


class Register(msgspec.Struct, frozen=True):
    """Store this process's lease."""

    rank: ClassVar[int] = 0
    worker: UUID
    host: str
    pid: int

    @classmethod
    def apply(cls, jobs: Sequence["Register"]) -> Sequence[None]:
        now = timezone.now()
        Worker.objects.bulk_create(
            [Worker(uuid=job.worker, host=job.host, pid=job.pid, started_at=now) for job in jobs]
        )
        return [None] * len(jobs)


class Beat(msgspec.Struct, frozen=True):
    """Count the lease up; false when others have judged it dead."""

    rank: ClassVar[int] = 90
    worker: UUID

    @classmethod
    def apply(cls, jobs: Sequence["Beat"]) -> Sequence[bool]:
        return [
            bool(Worker.objects.filter(uuid=job.worker, ended_at__isnull=True).update(beat=F("beat") + 1))
            for job in jobs
        ]


class Reopen(ClientJob, frozen=True):
    """Put connections that are still open under a new lease, and the names that nobody took from them meanwhile."""

    rank: ClassVar[int] = 5
    worker: UUID
    connections: tuple[UUID, ...]

    @classmethod
    def clients(cls, jobs: Sequence["Reopen"]) -> Iterable[int]:
        held = [connection for job in jobs for connection in job.connections]
        return HubClient.objects.filter(connection__in=held).values_list("pk", flat=True)

    @classmethod
    def write(cls, jobs: Sequence["Reopen"], locked: Locked) -> Sequence[None]:
        for job in jobs:
            Connection.objects.filter(uuid__in=job.connections).update(
                worker=job.worker, ended_at=None, close_code=None, close_reason=""
            )
            for client in locked.values():
                if client.connection in job.connections:
                    client.worker = job.worker
                    client.save(update_fields=["worker"])
        return [None] * len(jobs)


class EndWorker(msgspec.Struct, frozen=True):
    """End a lease and every connection that lived under it; the result is how many those were, None without a lease.

    The names of hub clients that they held are free with it: a name is held only while its worker lives.
    """

    rank: ClassVar[int] = 95
    worker: UUID
    code: int = LOST
    reason: str = "worker lost"

    @classmethod
    def apply(cls, jobs: Sequence["EndWorker"]) -> Sequence[int | None]:
        now = timezone.now()
        ended: list[int | None] = []
        for job in jobs:
            if job.code == LOST:
                _break_off(job.worker)
            lived = Worker.objects.filter(uuid=job.worker, ended_at__isnull=True).update(ended_at=now)
            live = Connection.objects.filter(worker=job.worker, ended_at__isnull=True)
            connections = live.update(ended_at=now, close_code=job.code, close_reason=job.reason)
            ended.append(connections if lived else None)
        return ended


def _break_off(uuid: UUID) -> None:
    """End the transactions that a lost worker has open: asleep in them, it would keep their locks for ever."""
    living = Worker.objects.filter(ended_at__isnull=True)
    worker = living.filter(uuid=uuid).first()
    if worker is None or connection.vendor != "postgresql":
        return
    if living.filter(host=worker.host, pid=worker.pid).exclude(uuid=uuid).exists():
        return  # its process has another lease by now, or its number another process
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
            " AND datname = current_database() AND usename = current_user AND xact_start IS NOT NULL"
            " AND pid <> pg_backend_pid()",
            [worker.session_name],
        )


# Connections come and go, and are active, by the thousand: these statements go past the ORM, whose instances and SQL
# cost about ten times what the database then needs for a row. Names come from the model.

_COUNTERS = ("last_active", "messages_in", "messages_out", "bytes_in", "bytes_out")


class PurgeConnections(msgspec.Struct, frozen=True):
    """Forget connections that ended before `before`, and leases that did and have none left; counts the first."""

    rank: ClassVar[int] = 98
    before: datetime

    @classmethod
    def apply(cls, jobs: Sequence["PurgeConnections"]) -> Sequence[int]:
        before = max(job.before for job in jobs)
        # By when they began, which an index gives: of what began since, nothing can have ended before.
        ended = Connection.objects.filter(connected_at__lt=before, ended_at__lt=before).order_by("connected_at")
        some = list(ended.values_list("pk", flat=True)[:PURGED_AT_ONCE])
        Connection.objects.filter(pk__in=some).delete()
        if len(some) < PURGED_AT_ONCE:
            left = Connection.objects.filter(worker=OuterRef("uuid"))
            Worker.objects.filter(~Exists(left), ended_at__lt=before).delete()
        return [len(some)] * len(jobs)


def _insert(new: Sequence[ConnectionRow]) -> None:
    names = (*ConnectionRow.__struct_fields__, *_COUNTERS, "close_reason")
    rows = [
        (
            _uuid(row.uuid), _uuid(row.worker), row.wire, _uuid(row.pipeline), _uuid(row.session), row.session_type,
            _uuid(row.application), row.address, row.user_agent, time, row.client, time, 0, 0, 0, 0, "",
        )
        for row in new
        for time in (_time(row.connected_at),)
    ]  # fmt: skip
    columns, values = ", ".join(names), ", ".join(["%s"] * len(names))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {Connection._meta.db_table} ({columns}) VALUES ({values})",  # noqa: S608  names of ours
            rows,
        )


def _update(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Set the columns `names` of connections; each row ends with the connection's UUID."""
    changes = ", ".join(f"{name} = %s" for name in names)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {Connection._meta.db_table} SET {changes} WHERE uuid = %s",  # noqa: S608  names of ours
            rows,
        )


def _counters(activity: Activity) -> tuple[Any, ...]:
    """Return the values of _COUNTERS, then the UUID."""
    return (
        _time(activity.last_active), activity.messages_in, activity.messages_out, activity.bytes_in,
        activity.bytes_out, _uuid(activity.uuid),
    )  # fmt: skip


def _uuid(value: UUID | None) -> Any:
    return value if value is None or connection.features.has_native_uuid_field else value.hex


def _time(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)
