"""VisitorConsumer, the base class of one visitor's socket, whose frames depend on what it asked and was told before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from connections.hub import Encoder, Member, Membership, Topic
from conversations.store import OutcomeUnknown
from conversations.types import Accepted, Event, Question, SessionKey
from integrations.errors import Fault, WireError
from integrations.outbound import Frame
from integrations.owed import UNNAMED, Owed
from integrations.parts import Parts
from integrations.sessions import SessionConsumer

SETTLE_PATIENCE = 120.0  # seconds that a socket which leaves a session waits for the answers that it is owed there
NOT_KNOWN = "暂时无法确认消息是否已保存：若已保存，确认和回答会随后送达，也可稍后恢复会话查看。"

Said = TypeVar("Said")


class VisitorConsumer(SessionConsumer):
    """A socket that acts on what its visitor says in order, and is told each event once, when it is due.

    So `tell` may note what it tells, and may push frames of its own before the one it returns.
    """

    def __init__(self, *, parts: Parts) -> None:
        super().__init__(parts=parts)
        self.owed = Owed()
        self._order = asyncio.Lock()

    # --- What a wire uses ------------------------------------------------------------------------

    def in_turn(
        self, act: Callable[[Said], Awaitable[None]], said: Said, shape: Callable[[Fault], Frame] | None = None
    ) -> None:
        """Act on what the visitor said after all that he said before; what goes wrong is told in its `shape`."""

        async def acting() -> None:
            try:
                async with self._order:
                    await act(said)
            except Exception as error:  # noqa: BLE001  `fail` looks it up in the one table
                self.fail(error, shape)

        try:
            self.spawn(acting())
        except WireError as error:  # too much at once
            self.fail(error, shape)

    async def go_into(self, session: SessionKey) -> bool:
        """Make `session` this socket's, paused, once the one it leaves gave its answers; tell whether it is another."""
        if self.membership is not None and session == self.session:
            return False
        await self.owed.settled(SETTLE_PATIENCE)
        self.owed = Owed()
        self.enter(session)
        return True

    def ask(self, question: Question) -> None:
        """Ask; what goes wrong is told."""
        self.owed.ask(question.client_msg_id or UNNAMED, wants_answer=question.wants_answer)
        try:
            super().ask(question)
        except WireError as error:
            self.failed(question, error)

    def refused(self, question: Question, error: Exception) -> None:
        """Tell that `question` was not taken."""
        self.fail(error)

    def doubted(self, question: Question, error: OutcomeUnknown) -> None:
        """Tell that `question` may not have been taken: not as its end, since that comes where it was."""
        self.fail(WireError(str(error), zh=NOT_KNOWN, status=503, retry_after=5))

    # --- How it is done --------------------------------------------------------------------------

    def accepted(self, question: Question, accepted: Accepted) -> None:
        """Tell a duplicate again; a person who has the conversation answers when he answers."""
        if question.wants_answer and accepted.answer_id is None:
            self.owed.expect_none(question.client_msg_id or UNNAMED)
        super().accepted(question, accepted)

    def failed(self, question: Question, error: Exception) -> None:
        """Note that `question` was not taken, or may not have been, and tell so."""
        name = question.client_msg_id or UNNAMED
        if isinstance(error, OutcomeUnknown):
            self.owed.doubt(name)
            self.doubted(question, error)
        else:
            self.owed.refuse(name)
            self.refused(question, error)

    async def replay(self, last_seq: int, told: int | None = None) -> None:
        """Replay what came after `last_seq`, once what was asked before is acknowledged: that is not told again."""
        await self.owed.stored(SETTLE_PATIENCE)
        await super().replay(last_seq, told)

    def join(self, topic: Topic, encode: Encoder, member: Member | None = None) -> Membership:
        """Become a member of `topic` that turns an event into a frame when it is due, not when it happens."""
        return super().join(topic, _as_it_is, member or _Listener(self))


class _Listener:
    """A member of a topic; the hub's encoders are called for events that wait, and once for all members."""

    def __init__(self, consumer: VisitorConsumer) -> None:
        self._consumer = consumer

    def push(self, event: Event) -> None:
        if frame := self._consumer.tell(event):
            self._consumer.push(frame)

    def lost(self) -> None:
        self._consumer.outbound.lost()


def _as_it_is(event: Any) -> Any:
    return event
