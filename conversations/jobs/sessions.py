"""Sessions as a batch of jobs holds them: locked, counted up in memory, saved together."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
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


def lock(**which: Any) -> dict[UUID, LockedSession]:
    """Lock the sessions that match, in the order of their ids."""
    found = (
        ChatSession.objects.select_for_update()
        .filter(**which)
        .order_by("id")
        .values_list("id", "uuid", "epoch", "last_seq", "open_turns", "language")
    )
    return {row[1]: LockedSession(*row[:5], "en" if row[5] == "en" else "zh-hans") for row in found}


def save(sessions: Iterable[LockedSession], now: datetime) -> None:
    """Write the counters of locked sessions back."""
    time = rows.adapt_time(now)
    rows.update(
        ChatSession,
        ("last_seq", "open_turns", "last_message_at"),
        [(session.last_seq, session.open_turns, time, session.id) for session in sessions],
        where=("id",),
    )
