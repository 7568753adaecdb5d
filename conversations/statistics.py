"""The numbers of what waits in conversations, for staff. Synchronous; the same from whichever worker."""

from uuid import UUID

import msgspec
from django.db.models import Count, Min
from django.utils import timezone

from conversations import contacts
from conversations.models import ChatSession, ContactRequest, OutboxEntry, Pipeline, Turn


class OpenWork(msgspec.Struct, frozen=True):
    """Turns that run and that wait for one before them, contact requests without a reply, sessions without a person."""

    running_turns: int
    queued_turns: int
    contact_requests: int
    waiting_sessions: int


class OpenOutbox(msgspec.Struct, frozen=True):
    """Deliveries that wait, and for how long the oldest of them has been due."""

    waiting: int
    late_seconds: float


def open_work() -> OpenWork:
    """Return how much there is to be done now."""
    turns = dict(Turn.objects.exclude(state=Turn.State.ENDED).order_by().values_list("state").annotate(Count("id")))
    return OpenWork(
        turns.get(Turn.State.RUNNING, 0),
        turns.get(Turn.State.QUEUED, 0),
        ContactRequest.objects.filter(state__in=contacts.OPEN).count(),
        ChatSession.objects.filter(waiting_since__isnull=False).count(),
    )


def open_outbox() -> OpenOutbox:
    """Return how much there is to be delivered now."""
    waiting = OutboxEntry.objects.filter(state=OutboxEntry.State.WAITING)
    found = waiting.order_by().aggregate(count=Count("id"), due_at=Min("due_at"))
    late = (timezone.now() - found["due_at"]).total_seconds() if found["due_at"] else 0.0
    return OpenOutbox(found["count"], max(0.0, late))


def pipeline_names() -> dict[UUID, str]:
    """Return the name of every pipeline."""
    return dict(Pipeline.objects.order_by().values_list("uuid", "name"))
