"""A new beginning, for one session or for many."""

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F

from conversations.models import ChatSession
from conversations.store import Job


class Reset(Job, msgspec.Struct, frozen=True):
    """Begin a new epoch in a session, or in all of a pipeline with one session type; returns how many."""

    rank: ClassVar[int] = 60
    pipeline_id: int
    session_type: str
    session: UUID | None = None

    @classmethod
    def apply(cls, jobs: Sequence["Reset"]) -> Sequence[int]:
        """Count the epochs up."""
        return [job.reset() for job in jobs]

    def reset(self) -> int:
        """Count the epochs of the sessions that match up; return how many."""
        sessions = ChatSession.objects.filter(pipeline_id=self.pipeline_id, session_type=self.session_type)
        if self.session is not None:
            sessions = sessions.filter(uuid=self.session)
        # Locked in the same order as everywhere, or two resets of everything could lock crosswise.
        ids = list(sessions.select_for_update().order_by("id").values_list("id", flat=True))
        return ChatSession.objects.filter(pk__in=ids).update(epoch=F("epoch") + 1)
