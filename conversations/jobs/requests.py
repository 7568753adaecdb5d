"""Contact requests are settled: whoever asked for the owner with them waits no more."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import QuerySet

from conversations import contacts
from conversations.jobs.sessions import ConversationJob, Locked
from conversations.jobs.unasked import last_words
from conversations.models import ContactRequest


class SettleRequests(ConversationJob, msgspec.Struct, frozen=True):
    """Move contact requests to `state`, replied or closed; the result is how many that moved.

    A session waits no more where none is left open, nobody has it, and its visitor said nothing after the last of them.
    """

    rank: ClassVar[int] = 36
    requests: tuple[UUID, ...]
    state: contacts.State

    @classmethod
    def sessions(cls, jobs: Sequence["SettleRequests"]) -> Iterable[int]:
        """Return the ids of the requests' sessions."""
        return _open(jobs).values_list("message__session_id", flat=True).distinct()

    @classmethod
    def write(cls, jobs: Sequence["SettleRequests"], locked: Locked) -> Sequence[int]:
        """Settle them under the locks of their sessions."""
        settled = set(_open(jobs).values_list("message_id", flat=True))
        results = [job.settle() for job in jobs]
        for session in locked.values():
            is_settled = last_words(session) in settled and not contacts.is_owner_called(session.id)
            if is_settled and not session.is_held:
                session.wait_no_more()
        return results

    def settle(self) -> int:
        """Move the requests."""
        move = contacts.close if self.state == contacts.State.CLOSED else contacts.mark_replied
        return move(self.requests)


def _open(jobs: Sequence[SettleRequests]) -> QuerySet[ContactRequest]:
    """Return those of the requests that are not closed."""
    wanted = {request for job in jobs for request in job.requests}
    return ContactRequest.objects.filter(uuid__in=wanted).exclude(state=contacts.State.CLOSED)
