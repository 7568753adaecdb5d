"""One question asked and its answer followed to the end, for wires whose answer is the reply to a call.

Whoever leaves before the end, as the last who waits for it on any worker, stops the answer; who named his question may
come back to it for a moment.
"""

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
from integrations.increments import added
from integrations.parts import Parts

LOOK = 5.0  # seconds without a word after which the database is asked: the last event may have been lost
COMES_BACK = 0.75  # seconds in which who lost his connection may call again, by the same id, before he counts as gone
CUT_PATIENCE = 1.5  # seconds that a turn which was cut may take to be stored


class Following:
    """An answer on its way. `accepted` is the question as stored, `answer` its end once `texts` is exhausted."""

    accepted: Accepted

    def __init__(self, parts: Parts, question: Question) -> None:
        self.answer: StoredMessage | None = None
        self._parts = parts
        self._question = question
        self._text = ""
        self._news = asyncio.Event()
        self._told = ""
        self._waits = False  # counted among those who wait for the answer
        self._broken_off: Exception | None = None

    @property
    def answer_id(self) -> int:
        """The id that the answer has or will have."""
        return self.accepted.answer_id or 0

    def is_over(self) -> bool:
        """Tell whether the answer is complete."""
        return self.answer is not None

    def push(self, event: Any) -> None:
        """Take an event of the session: only the answer's are of interest."""
        if isinstance(event, ReplyDelta) and event.id == self.answer_id:
            self._text = event.text
            self._news.set()
        elif isinstance(event, MessageStored) and event.message.id == self.answer_id:
            self.answer = event.message
            self._news.set()

    def lost(self) -> None:
        """Events were left out: the next look at the database brings the end."""

    def break_off(self, error: Exception) -> None:
        """Raise `error` to whoever reads the answer, before its end; the first one counts."""
        if not self.is_over() and self._broken_off is None:
            self._broken_off = error
            self._news.set()

    async def texts(self, until: float) -> AsyncIterator[str]:
        """Yield the answer in increments; at `until`, on the loop's clock, it is cut.

        With the last increment `is_over` is true. Raises what it was broken off with.
        """
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
            if self._broken_off is not None:
                raise self._broken_off
            if not self.is_over() and (increment := added(self._told, self._text)):
                self._told = self._text
                yield increment
        assert self.answer is not None
        if rest := self._rest(self.answer.text):
            yield rest

    def _rest(self, text: str) -> str:
        """Return what is still to be told of the answer `text`."""
        return text[len(self._told) :] if text.startswith(self._told) else f"\n\n{text}"

    # --- Asking and leaving ----------------------------------------------------------------------

    async def ask(self) -> None:
        """Ask; where the caller leaves meanwhile, the answer that nobody waits for is stopped."""
        asking = self._parts.turns.ask(self._question)
        try:
            self._is_accepted(await asyncio.shield(asking))
        except asyncio.CancelledError:
            asking.add_done_callback(self._leave_at_once)
            raise

    def leave(self) -> None:
        """Wait no more; the last one to leave stops an answer that is not over."""
        if not self._waits or self.is_over():
            return
        self._waits = False
        if self._question.client_msg_id:  # a connection that broke looks like a caller who left
            asyncio.get_running_loop().call_later(COMES_BACK, self._give_up, Outcome.STOPPED)
        else:
            self._give_up(Outcome.STOPPED)

    def _is_accepted(self, accepted: Accepted) -> None:
        self.accepted = accepted
        self.answer = accepted.answer
        self._waits = not self.is_over()

    def _leave_at_once(self, asking: "asyncio.Future[Accepted]") -> None:
        if asking.cancelled() or asking.exception() is not None:
            return
        self._is_accepted(asking.result())
        self.leave()

    def _give_up(self, outcome: Outcome) -> "asyncio.Future[bool]":
        self._waits = False
        return self._parts.turns.give_up(self.accepted.message.session, self.answer_id, outcome)

    # --- The end ---------------------------------------------------------------------------------

    async def _look(self) -> None:
        with suppress(StoreError):
            found = await self._parts.store.read(selectors.message, self.answer_id)
            self.answer = self.answer or found

    async def _cut(self) -> None:
        """End the answer for want of time, and its turn where nobody else waits; also where nobody is reached."""
        message = self.accepted.message
        with suppress(TimeoutError, StoreError):
            async with asyncio.timeout(CUT_PATIENCE):
                if not await asyncio.shield(self._give_up(Outcome.CUT)):
                    await self._look()
                else:
                    while not self.is_over():
                        await self._news.wait()
                        self._news.clear()
        if self.answer is not None:
            return
        cut = phrases.CUT[phrases.language_of(message.text)]
        text = f"{self._text}\n\n{cut}" if self._text else cut
        self.answer = StoredMessage(
            id=self.answer_id, session=message.session, session_type=message.session_type, seq=0,
            role=Role.ASSISTANT, text=text, timestamp=message.timestamp, outcome=Outcome.CUT,
        )  # fmt: skip


@asynccontextmanager
async def asked(parts: Parts, question: Question) -> AsyncIterator[Following]:
    """Ask, and follow the answer meanwhile; whoever leaves as the last before its end stops it.

    Raises what `TurnRunner.ask` raises.
    """
    following = Following(parts, question)
    membership = parts.hub.join(SessionTopic(question.session.uuid), following, _as_it_is)
    try:
        await parts.hub.ready()
        await following.ask()
        try:
            membership.go_live(following.accepted.message.seq)
            with parts.turns.followed(following.break_off):
                yield following
        finally:
            following.leave()
    finally:
        parts.hub.leave(membership)


def _as_it_is(event: Any) -> Any:
    return event
