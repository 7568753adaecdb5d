"""Conversations that a person has taken over and left: given back to the bot.

Each process judges by its own monotonic clock, as it judges workers: what `held_until` says is for people, the wall
clock may be set. A process that was started meanwhile begins to count anew.
"""

import time
from datetime import datetime
from uuid import UUID

from conversations import selectors
from conversations.answer import Publish
from conversations.jobs import Handed, Release
from conversations.store import Store
from conversations.types import MessageStored, SessionTopic


class Holds:
    """The sessions that people hold, and since when nobody has touched them; after `patience` seconds they go back."""

    def __init__(self, store: Store, publish: Publish, *, patience: float) -> None:
        self._store = store
        self._publish = publish
        self._patience = patience
        self._seen: dict[UUID, tuple[datetime, float]] = {}  # session → its hold and since when, by our clock

    async def hand_back(self) -> None:
        """Give back every session that nobody has touched for too long, and tell so in it."""
        now = time.monotonic()
        held = await self._store.read(selectors.sessions_held)
        self._seen = {
            session: before if (before := self._seen.get(session)) and before[0] == until else (until, now)
            for session, until in held.items()
        }
        for session, (until, since) in self._seen.items():
            if now - since >= self._patience:
                handed: Handed = await self._store.write(Release(session, untouched=until))
                if handed.notice is not None:
                    self._publish(SessionTopic(session), MessageStored(handed.notice))
