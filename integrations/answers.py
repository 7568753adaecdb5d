"""One question asked and its answer followed to the end, for wires whose answer is the reply to a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from conversations import phrases, selectors
from conversations.store import StoreError
from conversations.types import (
    Accepted,
    MessageStored,
    Outcome,
    Question,
    ReplyDelta,
    Role,
    SessionTopic,
    StoredMessage,
)
from integrations.parts import Parts

LOOK = 5.0  # seconds without a word after which the database is asked: the last event may have been lost
CUT_PATIENCE = 1.5  # seconds that a turn which was cut may take to be stored


class Following:
    """An answer on its way. `accepted` is the question as stored, `answer` its end once `texts` is exhausted."""

    accepted: Accepted

    def __init__(self, parts: Parts) -> None:
        self.answer: StoredMessage | None = None
        self._parts = parts
        self._text = ""
        self._news = asyncio.Event()

    def is_over(self) -> bool:
        """Tell whether the answer is complete."""
        return self.answer is not None

    def push(self, event: Any) -> None:
        """Take an event of the session: only the answer's are of interest."""
        if isinstance(event, ReplyDelta) and event.id == self.accepted.answer_id:
            self._text = event.text
            self._news.set()
        elif isinstance(event, MessageStored) and event.message.id == self.accepted.answer_id:
            self.answer = event.message
            self._news.set()

    def lost(self) -> None:
        """Events were left out: the next look at the database brings the end."""

    async def texts(self, until: float) -> AsyncIterator[str]:
        """Yield the answer in increments; at `until`, on the loop's clock, it is cut."""
        told = ""
        loop = asyncio.get_running_loop()
        while not self.is_over():
            left = until - loop.time()
            if left <= 0:
                await self._cut()
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK)):
                    await self._news.wait()
            if not self._news.is_set():
                await self._look()
            self._news.clear()
            if not self.is_over() and len(self._text) > len(told):
                yield self._text[len(told) :]
                told = self._text
        assert self.answer is not None
        rest = self.answer.text[len(told) :] if self.answer.text.startswith(told) else f"\n\n{self.answer.text}"
        if rest:
            yield rest

    async def _look(self) -> None:
        with suppress(StoreError):
            self.answer = await self._parts.store.read(selectors.message, self.accepted.answer_id or 0)

    async def _cut(self) -> None:
        """End the turn for want of time, and the answer with it, also where nobody can be reached."""
        message = self.accepted.message
        self._parts.turns.stop(message.session, turn=self.accepted.answer_id, outcome=Outcome.CUT)
        with suppress(TimeoutError):
            async with asyncio.timeout(CUT_PATIENCE):
                while not self.is_over():
                    await self._news.wait()
                    self._news.clear()
        if self.answer is None:
            cut = phrases.CUT[phrases.language_of(message.text)]
            text = f"{self._text}\n\n{cut}" if self._text else cut
            self.answer = StoredMessage(
                id=self.accepted.answer_id or 0, session=message.session, session_type=message.session_type, seq=0,
                role=Role.ASSISTANT, text=text, timestamp=message.timestamp, outcome=Outcome.CUT,
            )  # fmt: skip


@asynccontextmanager
async def asked(parts: Parts, question: Question) -> AsyncIterator[Following]:
    """Ask, and follow the answer meanwhile; whoever leaves as the last before its end stops it.

    Raises what `TurnRunner.ask` raises.
    """
    following = Following(parts)
    membership = parts.hub.join(SessionTopic(question.session.uuid), following, _as_it_is)
    try:
        await parts.hub.ready()
        following.accepted = accepted = await parts.turns.ask(question)
        following.answer = accepted.answer
        answer = accepted.answer_id or 0
        membership.go_live(accepted.message.seq)
        parts.followers.enter(answer)
        try:
            yield following
        finally:
            if parts.followers.leave(answer) and not following.is_over():
                parts.turns.stop(question.session.uuid, turn=answer)
    finally:
        parts.hub.leave(membership)


def _as_it_is(event: Any) -> Any:
    return event
