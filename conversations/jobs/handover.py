"""A person takes a conversation over from the bot, and gives it back: one at a time, under the session's lock.

Whoever else writes in the session sees it there: no turn is opened (`Accept`), and what the bot still says is not
stored (`Finish`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import phrases, rows
from conversations.jobs import sessions
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.models import ChatSession, Message
from conversations.models import Turn as TurnRow
from conversations.store import Refused
from conversations.types import Language, Role, Sender, StoredMessage

NAME = 100  # characters of a person's name
_FIELDS = ("id", "session", "seq", "epoch", "role", "text", "connection_id", "reply_to", "sender_name", "created_at")


class HeldByAnother(Refused):
    """Somebody else has the conversation; the text says who."""


class Handed(msgspec.Struct, frozen=True):
    """A conversation has changed hands: the notice that tells so, and the turns that were open then.

    `notice` is None where nothing changed.
    """

    notice: StoredMessage | None
    open_turns: tuple[int, ...] = ()


class Hold(ConversationJob, msgspec.Struct, frozen=True):
    """Take a session over from the bot, for `seconds` since the last thing that is done; the result is a Handed.

    Refused as HeldByAnother, or where there is no such session. Who holds it already may ask again.
    """

    rank: ClassVar[int] = 32
    session: UUID
    holder: int
    name: str
    seconds: float

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
        if row.held_since is not None and row.holder_id != self.holder:
            return HeldByAnother(f"{row.held_by} has this conversation.")
        row.held_until = now + timedelta(seconds=self.seconds)
        if row.held_since is not None:
            row.save(update_fields=["held_until"])
            return Handed(None)
        row.holder_id, row.held_by, row.held_since = self.holder, self.name[:NAME], now
        row.save(update_fields=["holder", "held_by", "held_since", "held_until"])
        session.is_held = True
        turns = TurnRow.objects.filter(session_id=session.id).exclude(state=TurnRow.State.ENDED).order_by("id")
        notice = _notice(session, row, phrases.JOINED, row.held_by)
        return Handed(notice, tuple(turns.values_list("id", flat=True)))


class Release(ConversationJob, msgspec.Struct, frozen=True):
    """Give a session back to the bot; the result is a Handed. Whoever does not hold it is refused as HeldByAnother.

    Without a `holder` it is the gateway, which gives back what nobody has touched since `held_until`.
    """

    rank: ClassVar[int] = 33
    session: UUID
    holder: int | None = None

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
        now = timezone.now()
        row = ChatSession.objects.get(pk=session.id)
        if row.held_since is None or (self.holder is None and row.held_until is not None and row.held_until > now):
            return Handed(None)
        if self.holder is not None and row.holder_id != self.holder:
            return HeldByAnother(f"{row.held_by} has this conversation.")
        name = row.held_by
        row.holder_id, row.held_by, row.held_since, row.held_until = None, "", None, None
        row.save(update_fields=["holder", "held_by", "held_since", "held_until"])
        session.is_held = False
        return Handed(_notice(session, row, phrases.LEFT, name))


def _notice(session: LockedSession, row: ChatSession, words: Mapping[Language, str], name: str) -> StoredMessage:
    """Store a notice about the person of that name and return it."""
    (id_,) = rows.reserve_message_ids(1)
    text, now = words[session.language].format(name=name), timezone.now()
    notice = StoredMessage(
        id=id_,
        session=session.uuid,
        session_type="group" if row.session_type == ChatSession.Kind.GROUP else "person",
        seq=session.next_seq(),
        role=Role.NOTICE,
        text=text,
        timestamp=now,
        sender=Sender("notice", name),
    )
    values = (
        notice.id, session.id, notice.seq, session.epoch, notice.role.value, text, "", "", name,
        rows.adapt_time(now),
    )  # fmt: skip
    rows.insert(Message, _FIELDS, [values])
    return notice
