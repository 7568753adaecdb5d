"""A new beginning, for one session or for many."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F, QuerySet

from conversations import rows, signals
from conversations.jobs.sessions import ConversationJob, Locked
from conversations.models import ChatSession, Pipeline


class Reset(ConversationJob, msgspec.Struct, frozen=True):
    """Begin a new epoch in a session, or in all of a pipeline with one session type; returns how many.

    `actor` is who asked for it, as `signals.recorded` tells him.
    """

    rank: ClassVar[int] = 42
    pipeline_id: int
    session_type: str
    session: UUID | None = None
    actor: str | UUID = signals.GATEWAY

    @classmethod
    def sessions(cls, jobs: Sequence["Reset"]) -> Iterable[int]:
        """Return the ids of the sessions that match now."""
        return [id_ for job in jobs for id_ in job.matching().values_list("id", flat=True)]

    @classmethod
    def write(cls, jobs: Sequence["Reset"], locked: Locked) -> Sequence[int]:
        """Count the epochs up; a session made since the locks were taken has nothing to forget."""
        ids = [session.id for session in locked.values()]
        counts = [sum(job.reset(some) for some in rows.slices(ids)) for job in jobs]
        for job, count in zip(jobs, counts, strict=True):
            if count:
                job.record(count)
        return counts

    def reset(self, ids: Sequence[int]) -> int:
        """Count the epochs of those of `ids` that match up; return how many."""
        return self.matching().filter(pk__in=ids).update(epoch=F("epoch") + 1)

    def record(self, count: int) -> None:
        """Have the audit trail tell who began how many sessions anew."""
        if self.session is None:
            pipeline = Pipeline.objects.values_list("name", flat=True).get(pk=self.pipeline_id)
            subject, details = f"every {self.session_type} session of {pipeline}", f"{count} in all"
        else:
            subject, details = f"session {self.session}", ""
        signals.recorded.send(sender=None, action="reset", actor=self.actor, subject=subject, details=details)

    def matching(self) -> QuerySet[ChatSession]:
        """Return the sessions to reset."""
        found = ChatSession.objects.filter(pipeline_id=self.pipeline_id, session_type=self.session_type)
        return found if self.session is None else found.filter(uuid=self.session)
