"""The outbox's rows: claimed by one worker at a time, settled once, forgotten in the end.

A claim holds while its worker lives, and longer than it delivers by no time: the wall clock may be set, and differs
from machine to machine.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import Count, F, Min, Q, QuerySet
from django.utils import timezone

from conversations import contacts
from conversations.models import OutboxEntry
from conversations.selectors import session_key, stored_message
from conversations.store import Job
from conversations.types import SessionKey, StoredMessage

CLAIMED_FOR = 90.0  # seconds; the release before this one, which may run beside it, takes over what is claimed longer
RETRIES = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, 12 * 3600.0)  # seconds before each further attempt
SLACK = timedelta(minutes=1)  # what is due later than its pause allows by more was put off by a clock that was ahead
SHARE = 10  # of one owner (a pipeline, and the application that asked) are under way in a process at the same time
KEPT_FOR = timedelta(days=30)  # then what was settled is forgotten
PURGED_AT_ONCE = 500

Owner = tuple[int, UUID | None]  # a pipeline's id, and the application whose token asked


class Letter(msgspec.Struct, frozen=True):
    """One thing to deliver: a stored message, and the question it answers where it is an answer.

    `attempts` counts those before this one.
    """

    id: int
    kind: str
    attempts: int
    session: SessionKey
    pipeline_id: int
    application: UUID | None
    message: StoredMessage
    question: StoredMessage | None = None

    @property
    def owner(self) -> Owner:
        """Whose receiver it goes to."""
        return self.pipeline_id, self.application


class ClaimOutbox(Job, msgspec.Struct, frozen=True):
    """Take what may begin now, so many of a kind as there is `room` for; the result is a list of Letters.

    Of one session and kind one at a time is under way, whoever delivers it (but for a retry that comes due while
    another worker claims), and of those that are due the oldest begins. One that waits for its next attempt is not due:
    it holds up none of those after it. Of one owner there are SHARE at most, those `under_way` here counted.
    """

    rank: ClassVar[int] = 46
    worker: UUID
    room: Mapping[str, int]
    under_way: Mapping[tuple[str, Owner], int]
    leases: Collection[UUID] = ()  # this process's own, and what it delivers under them: it forgot the rest
    delivering: Collection[int] = ()

    @classmethod
    def apply(cls, jobs: Sequence["ClaimOutbox"]) -> Sequence[list[Letter]]:
        """Take what no other worker is taking."""
        return [job.claim() for job in jobs]

    def claim(self) -> list[Letter]:
        """Claim what may begin and return it."""
        now = timezone.now()
        first = [id_ for kind, room in self.room.items() for id_ in self._fair(kind, room, now)]
        if not first:
            return []
        due = OutboxEntry.objects.filter(_is_due(now), pk__in=first, state=OutboxEntry.State.WAITING)
        free = due.exclude(self._is_claimed()).select_for_update(skip_locked=True)
        taken = list(free.values_list("id", flat=True))
        claimed = OutboxEntry.objects.filter(pk__in=taken)
        claimed.update(claimed_until=now + timedelta(seconds=CLAIMED_FOR), worker=self.worker)
        found = claimed.order_by("id")
        related = ("message__session__pipeline", "message__question__session")
        return [
            Letter(
                id=row.pk,
                kind=row.kind,
                attempts=row.attempts,
                session=session_key(row.message.session),
                pipeline_id=row.message.session.pipeline_id,
                application=row.message.session.application,
                message=stored_message(row.message),
                question=stored_message(row.message.question) if row.message.question else None,
            )
            for row in found.select_related(*related)
        ]

    def _fair(self, kind: str, room: int, now: datetime) -> Iterable[int]:
        """Return what may begin of a kind: an owner whose receiver hangs leaves room for the others."""
        shares = Counter({owner: count for (of_kind, owner), count in self.under_way.items() if of_kind == kind})
        taken: set[int] = set()
        while len(taken) < room:
            full = [owner for owner, count in shares.items() if count >= SHARE]
            found = self._first_of_sessions(kind, now, full, taken)[: room - len(taken)]
            if not found:
                break
            for id_, *owner in found:
                if shares[tuple(owner)] < SHARE:
                    shares[tuple(owner)] += 1
                    taken.add(id_)
        return sorted(taken)

    def _first_of_sessions(
        self, kind: str, now: datetime, full: Collection[Owner], taken: Collection[int]
    ) -> QuerySet[Any, Any]:
        """Return the first entry that is due of each session with none under way, and its owner: longest waiting first.

        Without those of owners that are `full`, and those that are `taken` already.
        """
        # All in one statement: between two, a first one could be claimed and its successor be taken for the first.
        waiting = OutboxEntry.objects.filter(kind=kind, state=OutboxEntry.State.WAITING)
        for pipeline, application in full:
            asked = (
                Q(message__session__application=application) if application else Q(message__session__application=None)
            )
            waiting = waiting.exclude(Q(message__session__pipeline=pipeline) & asked)
        claimed = self._is_claimed()
        sessions = (
            waiting.filter(_is_due(now) | claimed)
            .order_by()
            .values("message__session")
            .annotate(
                first=Min("id"),
                waits_since=Min("due_at"),
                claims=Count("id", filter=claimed),
                pipeline=F("message__session__pipeline"),
                application=F("message__session__application"),
            )
        )
        idle = sessions.filter(claims=0).exclude(first__in=taken)
        return idle.order_by("waits_since", "first").values_list("first", "pipeline", "application")

    def _is_claimed(self) -> Q:
        """Return what is under way, here or on another worker."""
        return Q(worker__isnull=False) & (~Q(worker__in=self.leases) | Q(pk__in=self.delivering))


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
        for job in sorted(jobs, key=lambda job: (job.message, job.entry)):  # the same order in every worker
            entry = OutboxEntry.objects.filter(pk=job.entry, state=OutboxEntry.State.WAITING)
            changes = {"attempts": F("attempts") + 1, "claimed_until": None, "worker": None, "error": job.reason[:200]}
            if job.sent:
                entry.update(state=OutboxEntry.State.SENT, ended_at=now, **changes)
                if job.told:
                    contacts.mark_notified(job.message)
            elif job.again is None:
                entry.update(state=OutboxEntry.State.FAILED, ended_at=now, **changes)
            else:
                entry.update(due_at=now + timedelta(seconds=job.again), **changes)
        return [None] * len(jobs)


class FreeClaims(Job, msgspec.Struct, frozen=True):
    """Let others deliver what dead workers had claimed; the result counts it."""

    rank: ClassVar[int] = 47
    dead: tuple[UUID, ...]

    @classmethod
    def apply(cls, jobs: Sequence["FreeClaims"]) -> Sequence[int]:
        """Free the claims of all `jobs`."""
        dead = {worker for job in jobs for worker in job.dead}
        claimed = OutboxEntry.objects.filter(state=OutboxEntry.State.WAITING, worker__in=dead)
        return [claimed.update(claimed_until=None, worker=None)] * len(jobs)


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


def _is_due(now: datetime) -> Q:
    """Return what is due; of what an hour would be missing to that, the clock was set back by one since."""
    due = Q(due_at__lte=now)
    for attempts, pause in enumerate((0.0, *RETRIES)):
        due |= Q(attempts=attempts, due_at__gt=now + timedelta(seconds=pause) + SLACK)
    return due
