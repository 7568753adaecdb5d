"""An operator speaks: stored with its place in the session, like everything that is said in it."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import contacts
from conversations.jobs import sessions
from conversations.jobs.handover import NAME, HeldByAnother
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.jobs.unasked import say
from conversations.jobs.uploads import Attaching
from conversations.models import ChatSession, Message
from conversations.selectors import stored_message
from conversations.store import Refused
from conversations.types import Role, StoredMessage
from conversations.uploads.selectors import values_of
from conversations.uploads.words import readable

REMEMBERED = 10  # replies of a session that are known again by their name


class OperatorSays(ConversationJob, msgspec.Struct, frozen=True):
    """Store an operator's words in a session; the result is the StoredMessage. `contacts` are replied to with it.

    `uploads` are the keys of files that go with them, and may say it all. `uuid` names them: said again under the name
    of one of the last REMEMBERED, they are the same. Where he holds the session, he does for another `seconds`.
    Refused as HeldByAnother, UploadTaken, or where there is no such session.
    """

    rank: ClassVar[int] = 35
    session: UUID
    text: str
    name: str
    contacts: tuple[UUID, ...] = ()
    operator: int | None = None
    seconds: float = 0.0
    uuid: UUID | None = None
    uploads: tuple[str, ...] = ()

    @classmethod
    def sessions(cls, jobs: Sequence["OperatorSays"]) -> Iterable[int]:
        """Return the ids of the sessions spoken in."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["OperatorSays"], locked: Locked) -> Sequence[StoredMessage | Refused]:
        """Store all `jobs` under the locks of their sessions."""
        uploads = Attaching(job.uploads for job in jobs)
        results = [job.speak(locked.get(job.session), uploads) for job in jobs]
        uploads.write()
        return results

    def speak(self, session: LockedSession | None, uploads: Attaching) -> StoredMessage | Refused:
        """Store the words; whoever waited for them waits no more."""
        if session is None:
            return Refused("There is no such session.")
        row = ChatSession.objects.get(pk=session.id)
        replies: list[tuple[str, int]] = row.last_replies or []
        for name, said in replies:
            if name == str(self.uuid):
                return stored_message(Message.objects.select_related("session", "question").get(pk=said))
        if row.held_since is not None:
            if row.holder_id != self.operator:
                return HeldByAnother(f"{row.held_by} has this conversation.")
            row.held_until = timezone.now() + timedelta(seconds=self.seconds)
        if refusal := uploads.refusal(self.uploads, row.pipeline_id, session.id, anew=True):
            return refusal
        files = values_of(self.uploads)
        session.wait_no_more()
        contacts.mark_replied(self.contacts)
        message = say(session, row, Role.OPERATOR, readable(self.text, files), self.name[:NAME], files)
        uploads.attach(self.uploads, session.id, message.id)
        if self.uuid is not None:
            row.last_replies = [*replies, (str(self.uuid), message.id)][-REMEMBERED:]
        row.save(update_fields=["held_until", "last_replies"])
        return message
