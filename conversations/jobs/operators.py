"""An operator speaks: stored with its place in the session, like everything that is said in it."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import contacts, rows
from conversations.jobs import sessions
from conversations.jobs.sessions import ConversationJob, Locked
from conversations.models import ChatSession, Message
from conversations.store import Refused
from conversations.types import Role, Sender, SessionType, StoredMessage

_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "connection_id", "reply_to", "sender_name", "outcome",
    "created_at",
)  # fmt: skip
SENDER_NAME = 100  # characters


class OperatorSays(ConversationJob, msgspec.Struct, frozen=True):
    """Store an operator's words in a session; the result is the StoredMessage. `contact` is replied to with it.

    Refused: there is no such session.
    """

    rank: ClassVar[int] = 35
    session: UUID
    text: str
    name: str
    contact: UUID | None = None

    @classmethod
    def sessions(cls, jobs: Sequence["OperatorSays"]) -> Iterable[int]:
        """Return the ids of the sessions spoken in."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["OperatorSays"], locked: Locked) -> Sequence[StoredMessage | Refused]:
        """Store all `jobs` under the locks of their sessions."""
        now = timezone.now()
        time = rows.adapt_time(now)
        types = _session_types(job.session for job in jobs)
        ids = iter(rows.reserve_message_ids(len(jobs)))
        results: list[StoredMessage | Refused] = []
        messages: list[rows.Row] = []
        for job in jobs:
            session = locked.get(job.session)
            if session is None:
                results.append(Refused("There is no such session."))
                continue
            name = job.name[:SENDER_NAME]
            message = StoredMessage(
                id=next(ids),
                session=session.uuid,
                session_type=types[session.uuid],
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
        rows.insert(Message, _FIELDS, messages)
        contacts.mark_replied([job.contact for job in jobs if job.contact is not None])
        return results


def _session_types(uuids: Iterable[UUID]) -> dict[UUID, SessionType]:
    found = ChatSession.objects.filter(uuid__in=list(uuids)).values_list("uuid", "session_type")
    return {uuid: "group" if kind == ChatSession.Kind.GROUP else "person" for uuid, kind in found}
