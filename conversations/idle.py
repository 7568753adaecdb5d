"""Conversations that a person has taken over and left: given back to the bot."""

from conversations import selectors
from conversations.answer import Publish
from conversations.jobs import Handed, Release
from conversations.store import Store
from conversations.types import MessageStored, SessionTopic


async def hand_back_untouched(store: Store, publish: Publish) -> None:
    """Give back every session that nobody has touched for too long, and tell so in it."""
    for session in await store.read(selectors.sessions_untouched):
        handed: Handed = await store.write(Release(session))
        if handed.notice is not None:
            publish(SessionTopic(session), MessageStored(handed.notice))
