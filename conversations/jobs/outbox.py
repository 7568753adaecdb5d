"""The outbox's rows: claimed by one worker at a time, settled once."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F, Q
from django.utils import timezone

from conversations import contacts
from conversations.models import OutboxEntry
from conversations.selectors import session_key, stored_message
from conversations.store import Job
from conversations.types import SessionKey, StoredMessage

CLAIMED_FOR = timedelta(seconds=90)  # longer than a delivery may take; then another worker may try
CLAIMED_AT_ONCE = 50


class Letter(msgspec.Struct, frozen=True):
    """One thing to deliver: a stored message, and the question it answers where it is an answer.

    `attempts` counts those before this one.
    """

    id: int
    kind: str
    attempts: int
    session: SessionKey
    application: UUID | None
    message: StoredMessage
    question: StoredMessage | None = None


class ClaimOutbox(Job, msgspec.Struct, frozen=True):
    """Take what is due of these kinds; the result is a list of Letters, oldest first."""

    rank: ClassVar[int] = 45
    worker: UUID
    kinds: tuple[str, ...]

    @classmethod
    def apply(cls, jobs: Sequence["ClaimOutbox"]) -> Sequence[list[Letter]]:
        """Take what no other worker is taking."""
        return [job.claim() for job in jobs]

    def claim(self) -> list[Letter]:
        """Claim what is due and return it."""
        now = timezone.now()
        due = (
            OutboxEntry.objects.select_for_update(skip_locked=True)
            .filter(state=OutboxEntry.State.WAITING, due_at__lte=now, kind__in=self.kinds)
            .filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
            .order_by("due_at", "id")
            .values_list("id", flat=True)
        )
        taken = list(due[:CLAIMED_AT_ONCE])
        if not taken:
            return []
        OutboxEntry.objects.filter(pk__in=taken).update(claimed_until=now + CLAIMED_FOR)
        found = OutboxEntry.objects.filter(pk__in=taken).order_by("id")
        related = ("message__session__pipeline", "message__question__session")
        return [
            Letter(
                id=row.pk,
                kind=row.kind,
                attempts=row.attempts,
                session=session_key(row.message.session),
                application=row.message.session.application,
                message=stored_message(row.message),
                question=stored_message(row.message.question) if row.message.question else None,
            )
            for row in found.select_related(*related)
        ]


class SettleOutbox(Job, msgspec.Struct, frozen=True):
    """Note how a delivery went; `again` is in how many seconds it is tried again, None for never.

    `told` is false where it is settled although nobody was told, because nobody wants to be.
    """

    rank: ClassVar[int] = 46
    entry: int
    message: int
    sent: bool
    again: float | None = None
    reason: str = ""
    told: bool = True

    @classmethod
    def apply(cls, jobs: Sequence["SettleOutbox"]) -> Sequence[None]:
        """Settle each; a contact request whose owner was told is notified from now on."""
        now = timezone.now()
        for job in jobs:
            entry = OutboxEntry.objects.filter(pk=job.entry, state=OutboxEntry.State.WAITING)
            changes = {"attempts": F("attempts") + 1, "claimed_until": None, "error": job.reason[:200]}
            if job.sent:
                entry.update(state=OutboxEntry.State.SENT, ended_at=now, **changes)
                if job.told:
                    contacts.mark_notified(job.message)
            elif job.again is None:
                entry.update(state=OutboxEntry.State.FAILED, ended_at=now, **changes)
            else:
                entry.update(due_at=now + timedelta(seconds=job.again), **changes)
        return [None] * len(jobs)
