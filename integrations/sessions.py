"""SessionConsumer, the base class of sockets that talk in one session: ask, be told, catch up after a gap."""

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import Callable

from connections.auth import Principal, Scope, may
from connections.hub import Membership
from connections.metrics import REPLAYED, RESUME
from conversations import selectors
from conversations.responders.base import PipelineConfig
from conversations.store import Refused, StoreError
from conversations.turns import PipelineMissing
from conversations.types import Accepted, Event, MessageStored, Question, SessionKey, SessionTopic, StoredMessage
from integrations.consumer import GatewayConsumer
from integrations.errors import TRY_LATER, WireError
from integrations.outbound import Frame

REPLAY_PATIENCE = 10.0  # seconds that the peer may take to read what waits before the next replayed message
RESUME_INTERVAL = 0.2  # seconds between two resumes of one connection; the next waits

Teller = Callable[[StoredMessage], Frame | None]


class SessionConsumer(GatewayConsumer):
    """A member of one session."""

    pipeline: PipelineConfig
    session: SessionKey
    membership: Membership | None = None
    replaying = False
    replay_patience = REPLAY_PATIENCE
    resumed_at = -math.inf

    # --- What a wire adds ------------------------------------------------------------------------

    @abstractmethod
    def tell(self, event: Event) -> Frame | None:
        """Return the frame that tells this socket of an event, or None where it is not told.

        A wire whose frames are the same for every socket makes this a static method: then it is encoded once for all.
        It changes nothing: it is called for events that wait, too, and again when they are due.
        """

    @abstractmethod
    def resumed(self, replay: selectors.Replay) -> Frame:
        """Return the frame that goes before what is replayed."""

    def tell_again(self, message: StoredMessage) -> Frame | None:
        """Return the frame of a stored message that is replayed, or that was asked for twice."""
        return self.tell(MessageStored(message))

    async def teller(self, after_seq: int, until_seq: int) -> Teller:
        """Return what makes the frames of the messages between these that are replayed."""
        return self.tell_again

    # --- What a wire uses ------------------------------------------------------------------------

    def enter(self, session: SessionKey) -> Membership:
        """Become a member of `session` alone, paused until `go_live`."""
        if self.membership is not None:
            self.leave(self.membership)
        self.session = session
        self.membership = self.join(SessionTopic(session.uuid), self.tell)
        return self.membership

    async def last_seq(self) -> int:
        """Return the session's newest `seq`, read once nothing published from now on can be missed."""
        await self.parts.hub.ready()
        state = await self.parts.store.read(selectors.session_state, self.session.uuid)
        return state.last_seq if state else 0

    async def is_own(self, key: SessionKey, principal: Principal) -> bool:
        """Tell whether the session was opened with a token of the same application."""
        if principal.application is None:
            return False
        state = await self.parts.store.read(selectors.session_state, key.uuid)
        return state is not None and state.key == key and state.application == principal.application

    def ask(self, question: Question) -> None:
        """Ask; what goes wrong is told, and a duplicate is told again to who sent it. Raises WireError."""
        if not may(self.principal, Scope.WRITE):
            raise WireError("Forbidden", zh="没有权限")
        try:
            accepting = self.parts.turns.ask(question)
        except (PipelineMissing, Refused, StoreError) as error:
            self.failed(question, error)
            return

        def ended(accepting: "asyncio.Future[Accepted]") -> None:
            if accepting.cancelled():
                return
            error = accepting.exception()
            if isinstance(error, Exception):
                self.failed(question, error)
            elif error is None:
                self.accepted(question, accepting.result())

        # The runner owns it: a question accepted is answered, whether this socket lives or not.
        accepting.add_done_callback(ended)

    def accepted(self, question: Question, accepted: Accepted) -> None:
        """Tell a duplicate again; of what is new, everybody in the session is told."""
        if not accepted.duplicate:
            return
        for message in (accepted.message, accepted.answer):
            if message is not None and (frame := self.tell_again(message)):
                self.push(frame)
        if accepted.answer is None and self._was_told(accepted.answer_id):
            # It ended while this was on its way: who waits for the acknowledgement first would wait for ever.
            try:
                self.spawn(self._tell_stored(accepted.answer_id or 0))
            except WireError as error:  # too much at once
                self.fail(error)

    def _was_told(self, answer: int | None) -> bool:
        return answer is not None and self.membership is not None and self.membership.room.is_over(answer)

    async def _tell_stored(self, id_: int) -> None:
        message = await self.parts.store.read(selectors.message, id_)
        if message is not None and (frame := self.tell_again(message)):
            self.push(frame)

    def failed(self, question: Question, error: Exception) -> None:
        """Tell that `question` was not taken, or may not have been."""
        self.fail(error)

    async def replay(self, last_seq: int, told: int | None = None) -> None:
        """Replay what came after `last_seq`, as fast as the peer reads, then go live from there.

        `told` is how far the session was when this socket began to ask in it; of one that was live it is known. What
        came after it is not taken as seen, whatever `last_seq` says: the answer that this socket is owed may be there.
        Where nothing can be replayed, the socket goes on from `told`.
        """
        if self.replaying:
            raise WireError("A resume is going on already", zh="正在恢复会话，请稍候")
        membership = self.membership
        assert membership is not None
        reached = told  # what came after it is held
        if membership.held is None:
            membership.pause()
            told, reached = membership.after, None
        self.replaying = True
        try:
            await asyncio.sleep(self.resumed_at + RESUME_INTERVAL - time.monotonic())
            self.resumed_at = time.monotonic()
            replay = await self.replay_of(last_seq, reached)
            self.parts.metrics.count(RESUME, "complete" if replay.complete else "incomplete")
            self.push(self.resumed(replay))
            seq = last_seq if told is None else min(last_seq, told)
            tell_again = await self.teller(seq, replay.last_seq) if replay.complete else self.tell_again
            while replay.complete and seq < replay.last_seq:
                page = await self.parts.store.read(selectors.replay_page, self.session.uuid, seq, replay.last_seq)
                for message in page:
                    if (frame := tell_again(message)) is not None:
                        await self._read_by_peer()
                        self.push(frame)
                        self.parts.metrics.count(REPLAYED, self.wire)
                seq = page[-1].seq if page else replay.last_seq  # what is not there any more was erased
            membership.go_live(replay.last_seq if replay.complete or told is None else told)
        except Exception as error:  # noqa: BLE001  `fail` looks it up in the one table
            # Half resumed is worse than not connected: the client comes again.
            self.parts.metrics.count(RESUME, "failed")
            self.fail(error)
            self.end(TRY_LATER)
        finally:
            self.replaying = False

    async def replay_of(self, last_seq: int, reached: int | None) -> selectors.Replay:
        """Return how far the session is, and whether what came after `last_seq` can be replayed."""
        if reached is not None:
            return selectors.replay_to(reached, last_seq)
        await self.parts.hub.ready()
        return await self.parts.store.read(selectors.replay, self.session.uuid, last_seq)

    async def _read_by_peer(self) -> None:
        """Wait until nothing waits for the peer, who is too slow where that takes too long."""
        await asyncio.sleep(0)  # a long replay lets others have their turn
        try:
            async with asyncio.timeout(self.replay_patience):
                await self.outbound.drained()
        except TimeoutError:
            self.outbound.lost()
