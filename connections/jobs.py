"""The writes of who is here, as jobs for the writer: each applies all of its kind in a few statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F
from django.utils import timezone

from connections.models import Connection, Worker

LOST = 1006  # the close code of a socket that ended without one
CHUNK = 500


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
        Connection.objects.bulk_create(
            [
                Connection(
                    **{name: getattr(job.row, name) for name in job.row.__struct_fields__},
                    last_active=job.row.connected_at,
                )
                for job in jobs
            ]
        )
        return [None] * len(jobs)


class Touch(msgspec.Struct, frozen=True):
    """Note what connections have done."""

    rank: ClassVar[int] = 70
    activities: tuple[Activity, ...]

    @classmethod
    def apply(cls, jobs: Sequence["Touch"]) -> Sequence[None]:
        _save_activities([activity for job in jobs for activity in job.activities])
        return [None] * len(jobs)


class Close(msgspec.Struct, frozen=True):
    """Note that a connection ended, and how."""

    rank: ClassVar[int] = 80
    activity: Activity
    code: int
    reason: str

    @classmethod
    def apply(cls, jobs: Sequence["Close"]) -> Sequence[None]:
        now = timezone.now()
        found = Connection.objects.in_bulk([job.activity.uuid for job in jobs], field_name="uuid")
        changed = []
        for job in jobs:
            row = found.get(job.activity.uuid)
            if row is not None:
                _note(row, job.activity)
                row.ended_at, row.close_code, row.close_reason = now, job.code, job.reason[:123]
                changed.append(row)
        Connection.objects.bulk_update(changed, [*_COUNTERS, "ended_at", "close_code", "close_reason"], CHUNK)
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


class Reopen(msgspec.Struct, frozen=True):
    """Put connections that are still open under a new lease."""

    rank: ClassVar[int] = 5
    worker: UUID
    connections: tuple[UUID, ...]

    @classmethod
    def apply(cls, jobs: Sequence["Reopen"]) -> Sequence[None]:
        for job in jobs:
            Connection.objects.filter(uuid__in=job.connections).update(
                worker=job.worker, ended_at=None, close_code=None, close_reason=""
            )
        return [None] * len(jobs)


class EndWorker(msgspec.Struct, frozen=True):
    """End a lease and every connection that lived under it."""

    rank: ClassVar[int] = 95
    worker: UUID
    code: int = LOST
    reason: str = "worker lost"

    @classmethod
    def apply(cls, jobs: Sequence["EndWorker"]) -> Sequence[None]:
        now = timezone.now()
        for job in jobs:
            Worker.objects.filter(uuid=job.worker, ended_at__isnull=True).update(ended_at=now)
            Connection.objects.filter(worker=job.worker, ended_at__isnull=True).update(
                ended_at=now, close_code=job.code, close_reason=job.reason
            )
        return [None] * len(jobs)


_COUNTERS = ["last_active", "messages_in", "messages_out", "bytes_in", "bytes_out"]


def _note(row: Connection, activity: Activity) -> None:
    for name in _COUNTERS:
        setattr(row, name, getattr(activity, name))


def _save_activities(activities: Sequence[Activity]) -> None:
    latest = {activity.uuid: activity for activity in activities}
    found = Connection.objects.in_bulk(list(latest), field_name="uuid")
    for uuid, row in found.items():
        _note(row, latest[uuid])
    Connection.objects.bulk_update(found.values(), _COUNTERS, CHUNK)
