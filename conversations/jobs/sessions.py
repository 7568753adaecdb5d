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
    """A session while its row is locked; `is_held`: a person has taken it over from the bot. Times as the driver's."""

    id: int
    uuid: UUID
    epoch: int
    last_seq: int
    open_turns: int
    language: Language
    is_held: bool
    waiting_since: Any = None
    done_at: Any = None
    changed: bool = False
    moved: bool = False  # in the desk's queue

    def next_seq(self) -> int:
        """Count `seq` up and return it."""
        self.changed = True
        self.last_seq += 1
        return self.last_seq

    def wait(self, time: Any) -> None:
        """Note that a person is needed, since then unless one was before."""
        if self.waiting_since is None:
            self.waiting_since, self.moved = time, True

    def wait_no_more(self) -> None:
        """Note that nobody is needed any more."""
        if self.waiting_since is not None:
            self.waiting_since, self.moved = None, True

    def mark_done(self, time: Any) -> None:
        """Note that an operator is through with it."""
        self.wait_no_more()
        self.done_at, self.moved = time, True

    def reopen(self) -> None:
        """Note that more is said."""
        if self.done_at is not None:
            self.done_at, self.moved = None, True


_FIELDS = ("id", "uuid", "epoch", "last_seq", "open_turns", "language", "held_since", "waiting_since", "done_at")


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
        _save([session for session in locked.values() if session.changed])
        _move([session for session in locked.values() if session.moved])
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
        LockedSession(id_, _uuid(uuid), epoch, seq, turns, _language(language), held_since is not None, *times)
        for id_, uuid, epoch, seq, turns, language, held_since, *times in found
    )
    return {session.uuid: session for session in locked}


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _language(text: str) -> Language:
    return "en" if text == "en" else "zh-hans"


def _save(sessions: Sequence[LockedSession]) -> None:
    time = rows.adapt_time(timezone.now())
    rows.update(
        ChatSession,
        ("last_seq", "open_turns", "last_message_at"),
        [(session.last_seq, session.open_turns, time, session.id) for session in sessions],
        where=("id",),
    )


def _move(sessions: Sequence[LockedSession]) -> None:
    values = [(session.waiting_since, session.done_at, session.id) for session in sessions]
    rows.update(ChatSession, ("waiting_since", "done_at"), values, where=("id",))
