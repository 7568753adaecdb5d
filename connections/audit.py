"""The audit trail: who did what to what, written in the transaction that does it.

An entry names people, programs and rows; no message text, no token and no openid has a place in it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import CharField
from django.utils import timezone
from django.utils.text import Truncator

from connections.models import Application, AuditEntry
from connections.writer import Writer

AT_ONCE = 200  # entries of one statement
PURGED_AT_ONCE = 1000  # entries that are forgotten in one transaction


class Action(StrEnum):
    """What is recorded; the words stand in the admin."""

    TAKE_OVER = "take-over"
    HAND_BACK = "hand-back"
    RESET = "reset"
    BROADCAST = "broadcast"
    CLOSE = "connections closed"
    TOKEN_ISSUED = "token issued"  # noqa: S105  a word for the admin
    TOKEN_EXCHANGED = "token exchanged"  # noqa: S105
    TOKEN_REVOKED = "token revoked"  # noqa: S105
    APPLICATION_CREATED = "application created"
    APPLICATION_CHANGED = "application changed"
    APPLICATION_ENABLED = "application enabled"
    APPLICATION_DISABLED = "application disabled"
    APPLICATION_DELETED = "application deleted"
    NAME_FREED = "name given free"
    NAME_FORGOTTEN = "name forgotten"


class Actor(msgspec.Struct, frozen=True):
    """Somebody who does something: by name, and by id where he has an account."""

    name: str
    user: int | None = None


COMMAND_LINE = Actor("command line")
GATEWAY = Actor("gateway")


def record(action: Action, *, actor: str | UUID, user: int | None = None, subject: str = "", details: str = "") -> None:
    """Note in the caller's transaction who did what, `user` being his account; a UUID is an application's."""
    record_each(action, [subject], actor=actor, user=user, details=details)


def record_each(
    action: Action, subjects: Iterable[str], *, actor: str | UUID, user: int | None = None, details: str = ""
) -> None:
    """Note the same deed of every subject, as `record` does."""
    name = _application(actor) if isinstance(actor, UUID) else actor
    now = timezone.now()
    entries = (
        AuditEntry(
            at=now,
            action=action,
            actor=_cut("actor", name),
            user=user,
            subject=_cut("subject", subject),
            details=_cut("details", details),
        )
        for subject in subjects
    )
    AuditEntry.objects.bulk_create(entries, batch_size=AT_ONCE)


def record_sent(
    *, action: str, actor: str | UUID, user: int | None = None, subject: str = "", details: str = "", **_signal: Any
) -> None:
    """Record what a signal tells of."""
    record(Action(action), actor=actor, user=user, subject=subject, details=details)


class WriteEntry(msgspec.Struct, frozen=True):
    """Note who did what, as `record` does."""

    action: Action
    actor: str | UUID
    subject: str
    details: str
    rank: ClassVar[int] = 50

    @classmethod
    def apply(cls, jobs: Sequence["WriteEntry"]) -> Sequence[None]:
        for job in jobs:
            record(job.action, actor=job.actor, subject=job.subject, details=job.details)
        return [None] * len(jobs)


class PurgeEntries(msgspec.Struct, frozen=True):
    """Forget the oldest entries of those before `before`; counts them."""

    rank: ClassVar[int] = 98
    before: datetime

    @classmethod
    def apply(cls, jobs: Sequence["PurgeEntries"]) -> Sequence[int]:
        old = AuditEntry.objects.filter(at__lt=max(job.before for job in jobs)).order_by("at")
        some = list(old.values_list("pk", flat=True)[:PURGED_AT_ONCE])
        AuditEntry.objects.filter(pk__in=some).delete()
        return [len(some)] * len(jobs)


async def note(writer: Writer, action: Action, *, actor: str | UUID, subject: str, details: str) -> None:
    """Note in a transaction of its own who did what, as `record` does."""
    await writer.submit(WriteEntry(action, actor, subject, details))


async def purge(writer: Writer, kept_for: timedelta) -> None:
    """Forget the entries that are too old."""
    purged = PURGED_AT_ONCE
    while purged == PURGED_AT_ONCE:
        purged = await writer.submit(PurgeEntries(timezone.now() - kept_for))


def name_of(application: Application) -> str:
    """Return what an application is called in the trail; names may be alike, the appid is not."""
    return f"application {application.name} ({application.appid})"


def _application(uuid: UUID) -> str:
    found = Application.objects.filter(uuid=uuid).only("name", "appid").first()
    return f"application {uuid}" if found is None else name_of(found)


def _cut(field: str, text: str) -> str:
    """Return a text as its column takes it."""
    column = AuditEntry._meta.get_field(field)
    assert isinstance(column, CharField)
    return Truncator(text).chars(column.max_length or 0)
