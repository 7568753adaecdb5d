"""The outbox's rows: claimed by one worker at a time, settled once, forgotten in the end."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F, Max, Min, Q
from django.utils import timezone

from conversations import contacts
from conversations.models import OutboxEntry
from conversations.selectors import session_key, stored_message
from conversations.store import Job
from conversations.types import SessionKey, StoredMessage

CLAIMED_FOR = 90.0  # seconds, longer than a delivery and its note may take; then another worker may try
KEPT_FOR = timedelta(days=30)  # then what was settled is forgotten
PURGED_AT_ONCE = 500


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
    """Take what may begin now, so many of a kind as there is `room` for; the result is a list of Letters.

    Of one session and kind only one is under way, whoever delivers it, and of those that are due the oldest begins.
    One that waits for its next attempt is not due: it holds up none of those after it.
    """

    rank: ClassVar[int] = 46
    room: Mapping[str, int]

    @classmethod
    def apply(cls, jobs: Sequence["ClaimOutbox"]) -> Sequence[list[Letter]]:
        """Take what no other worker is taking."""
        return [job.claim() for job in jobs]

    def claim(self) -> list[Letter]:
        """Claim what may begin and return it."""
        now = timezone.now()
        first = [id_ for kind, room in self.room.items() if room for id_ in _first_of_sessions(kind, room, now)]
        if not first:
            return []
        due = OutboxEntry.objects.filter(pk__in=first, state=OutboxEntry.State.WAITING, due_at__lte=now)
        free = due.filter(Q(claimed_until=None) | Q(claimed_until__lt=now)).select_for_update(skip_locked=True)
        taken = list(free.values_list("id", flat=True))
        OutboxEntry.objects.filter(pk__in=taken).update(claimed_until=now + timedelta(seconds=CLAIMED_FOR))
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

    rank: ClassVar[int] = 45  # before a claim: whose turn it is depends on it
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


class PurgeOutbox(Job, msgspec.Struct, frozen=True):
    """Forget entries older than KEPT_FOR, once they are settled; the result counts them."""

    rank: ClassVar[int] = 97

    @classmethod
    def apply(cls, jobs: Sequence["PurgeOutbox"]) -> Sequence[int]:
        """Look at the oldest only: where one of those is to stay, so are all that came after it."""
        settled = OutboxEntry.objects.exclude(state=OutboxEntry.State.WAITING).order_by("id")
        oldest = list(settled.values_list("id", flat=True)[:PURGED_AT_ONCE])
        old = OutboxEntry.objects.filter(pk__in=oldest, created_at__lt=timezone.now() - KEPT_FOR)
        count, _ = old.delete()
        return [count] * len(jobs)


def _first_of_sessions(kind: str, room: int, now: datetime) -> Iterable[int]:
    """Return the first entry that is due of each session with none under way, where it has waited longest first."""
    # All of it in one statement: between two, a first one could be claimed and its successor be taken for the first.
    waiting = OutboxEntry.objects.filter(kind=kind, state=OutboxEntry.State.WAITING)
    present = waiting.filter(Q(due_at__lte=now) | Q(claimed_until__gte=now)).order_by()
    sessions = present.values("message__session").annotate(
        first=Min("id"), waits_since=Min("due_at"), claimed_until=Max("claimed_until")
    )
    idle = sessions.filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
    return idle.order_by("waits_since", "first").values_list("first", flat=True)[:room]
