"""An operator speaks: stored with its place in the session, like everything that is said in it."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import contacts, rows
from conversations.jobs import sessions
from conversations.jobs.handover import NAME, HeldByAnother
from conversations.jobs.sessions import ConversationJob, Locked
from conversations.models import ChatSession, Message
from conversations.store import Refused
from conversations.types import Role, Sender, StoredMessage

_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "connection_id", "reply_to", "sender_name", "outcome",
    "created_at",
)  # fmt: skip


class OperatorSays(ConversationJob, msgspec.Struct, frozen=True):
    """Store an operator's words in a session; the result is the StoredMessage. `contact` is replied to with it.

    Where he holds the session, he does for another `seconds`. Refused as HeldByAnother, or where there is no such
    session.
    """

    rank: ClassVar[int] = 35
    session: UUID
    text: str
    name: str
    contact: UUID | None = None
    operator: int | None = None
    seconds: float = 0.0

    @classmethod
    def sessions(cls, jobs: Sequence["OperatorSays"]) -> Iterable[int]:
        """Return the ids of the sessions spoken in."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["OperatorSays"], locked: Locked) -> Sequence[StoredMessage | Refused]:
        """Store all `jobs` under the locks of their sessions."""
        now = timezone.now()
        time = rows.adapt_time(now)
        found = {row.uuid: row for row in ChatSession.objects.filter(uuid__in={job.session for job in jobs})}
        ids = iter(rows.reserve_message_ids(len(jobs)))
        results: list[StoredMessage | Refused] = []
        messages: list[rows.Row] = []
        replied: list[UUID] = []
        for job in jobs:
            session = locked.get(job.session)
            if session is None:
                results.append(Refused("There is no such session."))
                continue
            row = found[session.uuid]
            if row.held_since is not None:
                if row.holder_id != job.operator:
                    results.append(HeldByAnother(f"{row.held_by} has this conversation."))
                    continue
                until = now + timedelta(seconds=job.seconds)
                ChatSession.objects.filter(pk=row.pk).update(held_until=until)
            name = job.name[:NAME]
            message = StoredMessage(
                id=next(ids),
                session=session.uuid,
                session_type="group" if row.session_type == ChatSession.Kind.GROUP else "person",
                seq=session.next_seq(),
                role=Role.OPERATOR,
                text=job.text,
                timestamp=now,
                sender=Sender("operator", name),
            )
            messages.append((
                message.id, session.id, message.seq, session.epoch, message.role.value, job.text, "", "", name, "",
                time,
            ))  # fmt: skip
            results.append(message)
            if job.contact is not None:
                replied.append(job.contact)
        rows.insert(Message, _FIELDS, messages)
        contacts.mark_replied(replied)
        return results
