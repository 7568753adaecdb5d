"""Contact requests are settled: whoever asked for the owner with them waits no more."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec

from conversations import contacts
from conversations.jobs.sessions import ConversationJob, Locked
from conversations.models import ContactRequest


class SettleRequests(ConversationJob, msgspec.Struct, frozen=True):
    """Move contact requests to `state`, replied or closed; the result is how many that moved.

    A session of which none is left open waits for nobody, unless a person has it.
    """

    rank: ClassVar[int] = 36
    requests: tuple[UUID, ...]
    state: contacts.State

    @classmethod
    def sessions(cls, jobs: Sequence["SettleRequests"]) -> Iterable[int]:
        """Return the ids of the requests' sessions."""
        wanted = {request for job in jobs for request in job.requests}
        return ContactRequest.objects.filter(uuid__in=wanted).values_list("message__session_id", flat=True).distinct()

    @classmethod
    def write(cls, jobs: Sequence["SettleRequests"], locked: Locked) -> Sequence[int]:
        """Settle them under the locks of their sessions."""
        results = [job.settle() for job in jobs]
        ours = set(cls.sessions(jobs))
        for session in locked.values():
            if session.id in ours and not session.is_held and not contacts.is_owner_called(session.id):
                session.wait_no_more()
        return results

    def settle(self) -> int:
        """Move the requests."""
        move = contacts.close if self.state == contacts.State.CLOSED else contacts.mark_replied
        return move(self.requests)
