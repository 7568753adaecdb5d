"""Sessions as a transaction holds them: locked before its first write, counted up in memory, saved together."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import rows
from conversations.models import ChatSession
from conversations.store import Job
from conversations.types import Language


class LockedSession(msgspec.Struct):
    """A session's counters while its row is locked; `is_held`: a person has taken it over from the bot."""

    id: int
    uuid: UUID
    epoch: int
    last_seq: int
    open_turns: int
    language: Language
    is_held: bool
    changed: bool = False

    def next_seq(self) -> int:
        """Count `seq` up and return it."""
        self.changed = True
        self.last_seq += 1
        return self.last_seq


_FIELDS = ("id", "uuid", "epoch", "last_seq", "open_turns", "language", "held_since")


Locked = Mapping[UUID, LockedSession]


class ConversationJob(Job):
    """A job of a conversation.

    The sessions of all kinds in one transaction are locked at once, by id: locked kind after kind, two workers'
    transactions would wait for each other.
    """

    @classmethod
    def apply(cls, jobs: Sequence[Any]) -> Sequence[Any]:
        """Lock what all `jobs` write in, then write them, kind after kind."""
        kinds: list[tuple[type[ConversationJob], list[Any]]] = [
            (kind, list(group)) for kind, group in groupby(jobs, key=type)
        ]
        locked = _lock(id_ for kind, group in kinds for id_ in kind.sessions(group))
        results = [result for kind, group in kinds for result in kind.write(group, locked)]
        _save(session for session in locked.values() if session.changed)
        return results

    @classmethod
    def sessions(cls, jobs: Sequence[Any]) -> Iterable[int]:
        """Return the ids of the sessions that `jobs` write in; what is missing is made."""
        return ()

    @classmethod
    def write(cls, jobs: Sequence[Any], locked: Locked) -> Sequence[Any]:
        """Write `jobs`, all of this kind, as `apply` does."""
        raise NotImplementedError


def find(uuids: Iterable[UUID]) -> dict[UUID, int]:
    """Return the ids of those of these sessions that there are."""
    found = rows.select(ChatSession, ("uuid", "id"), where="uuid", values=[rows.adapt_uuid(uuid) for uuid in uuids])
    return {_uuid(uuid): id_ for uuid, id_ in found}


def _lock(ids: Iterable[int]) -> Locked:
    found = rows.select(ChatSession, _FIELDS, where="id", values=list(dict.fromkeys(ids)), lock=True)
    locked = (
        LockedSession(id_, _uuid(uuid), epoch, seq, turns, _language(language), held_since is not None)
        for id_, uuid, epoch, seq, turns, language, held_since in found
    )
    return {session.uuid: session for session in locked}


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _language(text: str) -> Language:
    return "en" if text == "en" else "zh-hans"


def _save(sessions: Iterable[LockedSession]) -> None:
    time = rows.adapt_time(timezone.now())
    rows.update(
        ChatSession,
        ("last_seq", "open_turns", "last_message_at"),
        [(session.last_seq, session.open_turns, time, session.id) for session in sessions],
        where=("id",),
    )
