"""A new beginning, for one session or for many."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F, QuerySet

from conversations import phrases, rows, signals
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.jobs.unasked import say
from conversations.models import ChatSession, Pipeline
from conversations.models import Turn as TurnRow
from conversations.types import Role, StoredMessage

STOPPED = 1000  # turns that one reset stops; those beyond it are answered, in the epoch before


class Begun(msgspec.Struct, frozen=True):
    """What a reset has begun: in `count` sessions, messages from `first_id` on, the first of which are `notices`.

    It names the `turns` that have not ended, each with its session: what they answer is over.
    """

    count: int
    first_id: int
    turns: tuple[tuple[UUID, int], ...] = ()
    notices: tuple[StoredMessage, ...] = ()


class Reset(ConversationJob, msgspec.Struct, frozen=True):
    """Begin a new epoch in a session, or in all of a pipeline with one session type; the result is a Begun.

    Where a person has a session he keeps it, and the new epoch begins with the notice that tells so.

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
    def write(cls, jobs: Sequence["Reset"], locked: Locked) -> Sequence[Begun]:
        """Count the epochs up; a session made since the locks were taken has nothing to forget."""
        return [job.reset(list(locked.values())) for job in jobs]

    def reset(self, sessions: Sequence[LockedSession]) -> Begun:
        """Count the epochs of those of `sessions` that match up."""
        (first_id,) = rows.reserve_message_ids(1)
        ids = [session.id for session in sessions]
        count = sum(self.matching().filter(pk__in=some).update(epoch=F("epoch") + 1) for some in rows.slices(ids))
        if count:
            self.record(count)
        held = {session.id: session for session in sessions if session.is_held}
        notices = [
            _held(held[row.id], row) for some in rows.slices(list(held)) for row in self.matching().filter(pk__in=some)
        ]
        return Begun(count, first_id, self.open_turns(ids), tuple(notices))

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

    def open_turns(self, ids: Sequence[int]) -> tuple[tuple[UUID, int], ...]:
        """Return the turns of those of the sessions `ids` that match which have not ended, each with its session."""
        found: list[tuple[UUID, int]] = []
        for some in rows.slices(ids):
            turns = TurnRow.objects.exclude(state=TurnRow.State.ENDED).filter(
                session__in=self.matching().filter(pk__in=some)
            )
            found += turns.order_by("id").values_list("session__uuid", "id")[: STOPPED - len(found)]
        return tuple(found)


def _held(session: LockedSession, row: ChatSession) -> StoredMessage:
    """Tell in a new epoch who has the session, and return the notice."""
    session.epoch = row.epoch
    text = phrases.JOINED[session.language].format(name=row.held_by)
    return say(session, row, Role.NOTICE, text, row.held_by)
