"""Sessions as a batch of jobs holds them: locked, counted up in memory, saved together."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec

from conversations import rows
from conversations.models import ChatSession
from conversations.types import Language


class LockedSession(msgspec.Struct):
    """A session's counters while its row is locked."""

    id: int
    uuid: UUID
    epoch: int
    last_seq: int
    open_turns: int
    language: Language

    def next_seq(self) -> int:
        """Count `seq` up and return it."""
        self.last_seq += 1
        return self.last_seq


_FIELDS = ("id", "uuid", "epoch", "last_seq", "open_turns", "language")


def lock(*, uuids: Iterable[UUID] = (), ids: Iterable[int] = ()) -> dict[UUID, LockedSession]:
    """Lock the sessions of these UUIDs or of these ids, in the order of their ids."""
    found = rows.lock(ChatSession, _FIELDS, where="uuid", values=[rows.adapt_uuid(uuid) for uuid in uuids])
    found += rows.lock(ChatSession, _FIELDS, where="id", values=list(ids))
    locked = (
        LockedSession(id_, uuid if isinstance(uuid, UUID) else UUID(uuid), epoch, seq, turns, _language(language))
        for id_, uuid, epoch, seq, turns, language in found
    )
    return {session.uuid: session for session in locked}


def _language(text: str) -> Language:
    return "en" if text == "en" else "zh-hans"


def save(sessions: Iterable[LockedSession], now: datetime) -> None:
    """Write the counters of locked sessions back."""
    time = rows.adapt_time(now)
    rows.update(
        ChatSession,
        ("last_seq", "open_turns", "last_message_at"),
        [(session.last_seq, session.open_turns, time, session.id) for session in sessions],
        where=("id",),
    )
