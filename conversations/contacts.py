"""Contact requests: what they say, and the only writers of their state: received → notified → replied → closed.

The writers belong into somebody's transaction; each moves a request forward only, and tells how many it moved.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone

from conversations.models import ContactRequest
from conversations.types import Language

State = ContactRequest.State
OPEN = (State.RECEIVED, State.NOTIFIED)  # nobody has replied


class Notice(msgspec.Struct, frozen=True):
    """What the owner is told of a contact request, and where."""

    request: UUID
    pipeline: UUID
    pipeline_name: str
    owner_email: str
    webhook_url: str
    session: UUID
    wire: str
    language: Language
    text: str
    user_agent: str
    escalated: bool
    created_at: datetime


def addresses(text: str) -> list[str]:
    """Return the e-mail addresses in a list separated by commas; what is none is left out."""
    found = []
    for entry in text.split(","):
        try:
            validate_email(entry.strip())
        except ValidationError:
            continue
        found.append(entry.strip())
    return found


def is_owner_called(session_id: int) -> bool:
    """Tell whether a session has a contact request that nobody has replied to."""
    return ContactRequest.objects.filter(message__session_id=session_id, state__in=OPEN).exists()


def notice_of(message: int) -> Notice | None:
    """Return the notice of the contact request that a message opened, None where there is none (any more)."""
    row = ContactRequest.objects.select_related("pipeline", "message__session").filter(message_id=message).first()
    if row is None:
        return None
    session = row.message.session
    return Notice(
        request=row.uuid,
        pipeline=row.pipeline.uuid,
        pipeline_name=row.pipeline.name,
        owner_email=row.pipeline.owner_email,
        webhook_url=row.pipeline.webhook_url,
        session=session.uuid,
        wire=session.wire,
        language="en" if session.language == "en" else "zh-hans",
        text=row.message.text,
        user_agent=row.user_agent,
        escalated=row.escalated,
        created_at=row.created_at.astimezone(UTC),
    )


def mark_notified(message: int) -> int:
    """Note that the owner was told of the request that a message opened."""
    found = ContactRequest.objects.filter(message_id=message, state=State.RECEIVED)
    return found.update(state=State.NOTIFIED, notified_at=timezone.now())


def mark_replied(requests: Collection[UUID]) -> int:
    """Note that the owner replied."""
    found = ContactRequest.objects.filter(uuid__in=requests, state__in=OPEN)
    return found.update(state=State.REPLIED, replied_at=timezone.now())


def close(requests: Collection[UUID]) -> int:
    """Close requests, replied to or not."""
    found = ContactRequest.objects.filter(uuid__in=requests).exclude(state=State.CLOSED)
    return found.update(state=State.CLOSED, closed_at=timezone.now())
