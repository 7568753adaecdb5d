"""A person takes a conversation over from the bot, gives it back, is through: one at a time, under the session's lock.

Whoever else writes in the session sees it there: no turn is opened (`Accept`), and what the bot still says is not
stored (`Finish`). A turn that was running then ends handed, also where the bot has the conversation again by its end;
one that waited behind it ends as the conversation stands when its turn comes.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import phrases, rows, signals
from conversations.jobs import sessions
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.jobs.unasked import say
from conversations.models import ChatSession
from conversations.models import Turn as TurnRow
from conversations.store import Refused
from conversations.types import Outcome, Role, StoredMessage

NAME = 100  # characters of a person's name


class HeldByAnother(Refused):
    """Somebody else has the conversation; the text says who."""


class Handed(msgspec.Struct, frozen=True):
    """A conversation has changed hands: the notice that tells so, and the turns that were running then.

    `notice` is None where nothing changed.
    """

    notice: StoredMessage | None
    running: tuple[int, ...] = ()


class Hold(ConversationJob, msgspec.Struct, frozen=True):
    """Take a session over from the bot, for `seconds` since the last thing that is done; the result is a Handed.

    Refused as HeldByAnother, or where there is no such session. Who holds it already may ask again; with `over` it is
    taken from whoever has it. A visitor who was promised an answer waits for the person from then on.
    """

    rank: ClassVar[int] = 32
    session: UUID
    holder: int
    name: str
    seconds: float
    over: bool = False

    @classmethod
    def sessions(cls, jobs: Sequence["Hold"]) -> Iterable[int]:
        """Return the ids of the sessions to be held."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["Hold"], locked: Locked) -> Sequence[Handed | Refused]:
        """Hold each that nobody holds."""
        return [job.hold(locked.get(job.session)) for job in jobs]

    def hold(self, session: LockedSession | None) -> Handed | Refused:
        """Hold the session and tell so in it."""
        if session is None:
            return Refused("There is no such session.")
        now = timezone.now()
        row = ChatSession.objects.get(pk=session.id)
        # Nobody has it where the holder's account is gone.
        is_others = row.held_since is not None and row.holder_id is not None and row.holder_id != self.holder
        if is_others and not self.over:
            return HeldByAnother(f"{row.held_by} has this conversation.")
        row.held_until = now + timedelta(seconds=self.seconds)
        if row.held_since is not None and row.holder_id == self.holder:
            row.save(update_fields=["held_until"])
            return Handed(None)
        row.holder_id, row.held_by, row.held_since = self.holder, self.name[:NAME], now
        row.save(update_fields=["holder", "held_by", "held_since", "held_until"])
        _record("take-over", row.held_by, self.holder, session)
        session.is_held = True
        if session.open_turns:
            session.wait(rows.adapt_time(now))
        turns = TurnRow.objects.filter(session_id=session.id, state=TurnRow.State.RUNNING).order_by("id")
        running = tuple(turns.values_list("id", flat=True))
        turns.update(outcome=Outcome.HANDED.value)
        text = phrases.JOINED[session.language].format(name=row.held_by)
        return Handed(say(session, row, Role.NOTICE, text, row.held_by), running)


class Release(ConversationJob, msgspec.Struct, frozen=True):
    """Give a session back to the bot; the result is a Handed. Whoever does not hold it is refused as HeldByAnother.

    Who waits for a person does so still: the bot does not answer what was said to one.
    Without a `holder` it is the gateway, which gives back what is held until `untouched` still, as nobody touched it.
    """

    rank: ClassVar[int] = 33
    session: UUID
    holder: int | None = None
    untouched: datetime | None = None

    @classmethod
    def sessions(cls, jobs: Sequence["Release"]) -> Iterable[int]:
        """Return the ids of the sessions to be given back."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["Release"], locked: Locked) -> Sequence[Handed | Refused]:
        """Give back each that is held."""
        return [job.release(locked.get(job.session)) for job in jobs]

    def release(self, session: LockedSession | None) -> Handed | Refused:
        """Give the session back and tell so in it."""
        if session is None:
            return Refused("There is no such session.")
        row = ChatSession.objects.get(pk=session.id)
        if row.held_since is None or (self.holder is None and row.held_until != self.untouched):
            return Handed(None)
        if self.holder is not None and row.holder_id != self.holder:
            return HeldByAnother(f"{row.held_by} has this conversation.")
        return Handed(_give_back(session, row, self.holder))


class MarkDone(ConversationJob, msgspec.Struct, frozen=True):
    """Note that an operator is through with a session, and give it back where he holds it; the result is a Handed.

    Refused as HeldByAnother, or where there is no such session.
    """

    rank: ClassVar[int] = 34
    session: UUID
    operator: int

    @classmethod
    def sessions(cls, jobs: Sequence["MarkDone"]) -> Iterable[int]:
        """Return the ids of the sessions."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["MarkDone"], locked: Locked) -> Sequence[Handed | Refused]:
        """Mark each that nobody else holds."""
        return [job.mark(locked.get(job.session)) for job in jobs]

    def mark(self, session: LockedSession | None) -> Handed | Refused:
        """Mark the session, and tell in it where it goes back to the bot."""
        if session is None:
            return Refused("There is no such session.")
        row = ChatSession.objects.get(pk=session.id)
        if row.held_since is not None and row.holder_id != self.operator:
            return HeldByAnother(f"{row.held_by} has this conversation.")
        session.mark_done(rows.adapt_time(timezone.now()))
        return Handed(None if row.held_since is None else _give_back(session, row, self.operator))


def _give_back(session: LockedSession, row: ChatSession, operator: int | None) -> StoredMessage:
    """Give a held session back to the bot and return the notice that tells so; without an operator the gateway does."""
    name = row.held_by
    _record("hand-back", signals.GATEWAY if operator is None else name, operator, session)
    row.holder_id, row.held_by, row.held_since, row.held_until = None, "", None, None
    row.save(update_fields=["holder", "held_by", "held_since", "held_until"])
    session.is_held = False
    return say(session, row, Role.NOTICE, phrases.LEFT[session.language].format(name=name), name)


def _record(action: str, actor: str, user: int | None, session: LockedSession) -> None:
    subject = f"session {session.uuid}"
    signals.recorded.send(sender=None, action=action, actor=actor, user=user, subject=subject)
