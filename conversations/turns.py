"""The turn runner: one question, one answer, exactly one end.

A turn belongs to the process, not to the socket that asked. It is claimed under this worker's lease, its text is
streamed to the session's topic (at most one delta per interval), kept while it grows, and stored when it ends; only
then is the end published. What a dead worker left is taken over: run again where that does no harm, else ended with
what was said.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from uuid import UUID

import msgspec
import structlog

from conversations import insisting, phrases, selectors
from conversations.answer import UNOBSERVED, Answer, Observer, Publish, RunningTurn
from conversations.catalogue import Catalogue
from conversations.courtesy import Courtesy
from conversations.escalation import asks_for_owner
from conversations.jobs import Accept, Finish, GiveUp, IdReused, SavePartial, TakeOver
from conversations.responders.base import PipelineConfig, Responder
from conversations.routes import Routes
from conversations.store import Store, StoreClosed, StoreError, StoreFull
from conversations.types import (
    Accepted,
    ControlTopic,
    Event,
    MessageStored,
    Outcome,
    Question,
    SessionTopic,
    StopRequested,
    Turn,
)

log = structlog.get_logger(__name__)

CUT_PATIENCE = 3.0  # seconds in which the answers that a stop has cut are stored
RUNNING_TURNS = 1000  # a process runs at most so many turns at once; one more is refused
RESTARTING = "The server is restarting, please send it again."
UNWANTED_TURNS = 1000  # turns that are remembered to be stopped before they began


class TurnLimits(msgspec.Struct, frozen=True):
    """Seconds for a whole turn, between two deltas of one answer, and between questions that let others go first."""

    deadline: float = 55.0
    delta_interval: float = 0.05
    pace: float = 0.01


class PipelineMissing(Exception):  # noqa: N818  names a state
    """The question's pipeline does not exist (any more)."""


class TurnRunner:
    """Accepts questions and runs the turns of this process."""

    def __init__(
        self,
        *,
        store: Store,
        catalogue: Catalogue,
        responders: Mapping[str, Responder],
        publish: Publish,
        worker: Callable[[], UUID],
        limits: TurnLimits,
        wake_outbox: Callable[[], None] = lambda: None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._wake_outbox = wake_outbox
        self._observer = observer
        self._store = store
        self._catalogue = catalogue
        self._routes = Routes(store=store, catalogue=catalogue, responders=responders, worker=worker)
        self._publish = publish
        self._worker = worker
        self._limits = limits
        self._running: dict[UUID, RunningTurn] = {}
        self._forgotten: set[int] = set()
        self._unwanted: dict[int, Outcome] = {}  # turns that are to end as soon as they begin
        self._accepting: set[asyncio.Task[Accepted]] = set()
        self._leaving: set[asyncio.Task[bool]] = set()
        self._followers: set[Callable[[Exception], None]] = set()
        self._courtesy = Courtesy(limits.pace)
        self._closing = False

    @property
    def running(self) -> int:
        """The number of turns running in this process."""
        return len(self._running)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is accepted."""
        return self._closing

    def can_answer(self, pipeline: PipelineConfig) -> bool:
        """Tell whether a responder of this process stands behind any of a pipeline's routes."""
        return self._routes.can_answer(pipeline)

    def ask(self, question: Question) -> "asyncio.Future[Accepted]":
        """Queue a question to be stored, in call order; the future ends once it is, its session told, its turn begun.

        The work belongs to the runner: cancelling the future does not undo the question. Raises PipelineMissing,
        StoreFull or StoreClosed at once; the future raises Refused or a StoreError. Nothing is stored then, but for
        OutcomeUnknown.
        """
        pipeline = self._catalogue.get(question.session.pipeline)
        if pipeline is None:
            raise PipelineMissing
        if self._closing:
            raise StoreClosed(RESTARTING)
        if question.wants_answer and len(self._running) >= RUNNING_TURNS:
            self._observer.on_full("turns")
            raise StoreFull("The server is busy, please try again in a moment.")
        wants_person = question.wants_answer and asks_for_owner(question.prompt or question.text)
        stored = self._store.submit(Accept(question, pipeline.id, self._worker(), wants_person))
        task = asyncio.get_running_loop().create_task(self._accept(question, stored))
        self._accepting.add(task)
        task.add_done_callback(self._accepted)
        return asyncio.shield(task)

    def _accepted(self, task: "asyncio.Task[Accepted]") -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # where whoever asked has left, nobody else looks at it, and the loop would complain

    async def _accept(self, question: Question, stored: "asyncio.Future[Accepted]") -> Accepted:
        try:
            accepted = await stored
        except IdReused:
            self._observer.on_repeat("refused")
            raise
        if accepted.duplicate:
            self._observer.on_repeat("joined" if accepted.answer is None else "answered")
        else:
            for message in (accepted.message, accepted.answer):
                if message is not None:
                    self._publish(SessionTopic(question.session.uuid), MessageStored(message))
        if accepted.turn is not None:
            self._start(accepted.turn)
        if question.contact is not None or (question.notify and accepted.answer is not None):
            self._wake_outbox()
        return accepted

    def stop(self, session: UUID, *, turn: int | None = None, outcome: Outcome = Outcome.STOPPED) -> None:
        """End an answer of a session, on whichever worker: `turn`, also where it still waits, else the running one."""
        self._publish(ControlTopic(), StopRequested(session, turn, outcome))

    def give_up(self, session: UUID, turn: int, outcome: Outcome) -> "asyncio.Task[bool]":
        """Wait no more for the answer of a turn; who does so as the last, in any process, has it end with `outcome`.

        The task tells whether it is to end.
        """
        task = asyncio.get_running_loop().create_task(self._give_up(GiveUp(session, turn, outcome)))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _give_up(self, job: GiveUp) -> bool:
        is_last = await insisting.give_up(self._store, job)
        if is_last:
            self.stop(job.session, turn=job.turn, outcome=job.outcome)
        return is_last

    def on_control(self, event: Event) -> None:
        """Do what the control topic asks of this process."""
        if not isinstance(event, StopRequested):
            return
        running = self._running.get(event.session)
        if running is not None and event.turn in (None, running.turn):
            running.end(event.outcome)
        elif event.turn is not None:
            # It waits behind another one, perhaps to be run here: noted in every process, for a while.
            if len(self._unwanted) >= UNWANTED_TURNS:
                del self._unwanted[next(iter(self._unwanted))]
            self._unwanted[event.turn] = event.outcome

    async def take_over(self, dead: Callable[[set[UUID]], Awaitable[set[UUID]]]) -> None:
        """Claim the turns of workers that `dead` picks out as dead, and run or end them."""
        workers = await self._store.read(selectors.workers_with_turns)
        if self._worker() in workers:
            await self._start_forgotten()
        workers.discard(self._worker())
        lost = await dead(workers) if workers else set()
        if not lost or self._closing:
            return
        turns: list[Turn] = await self._store.write(TakeOver(self._worker(), tuple(lost)))
        for turn in turns:
            log.info("turn.taken_over", turn=turn.id, begun=turn.begun)
            self._observer.on_take_over(turn)
            self._start(turn)

    async def _start_forgotten(self) -> None:
        """Start turns of ours that nobody here runs: their COMMIT was cut off, and yet it happened.

        Only those seen twice: the acknowledgement of the others may be on its way.
        """
        turns = await self._store.read(selectors.running_turns, self._worker())
        forgotten = [turn for turn in turns if not self._is_running(turn.session.uuid)]
        seen_before, self._forgotten = self._forgotten, {turn.id for turn in forgotten}
        for turn in forgotten:
            if turn.id in seen_before and not self._closing:
                log.warning("turn.forgotten", turn=turn.id)
                self._start(turn)

    def abandon(self) -> None:
        """Drop every running turn: this worker's lease was lost, and others have taken them over."""
        for running in self._running.values():
            running.end(None)

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, give running turns `seconds` to end, then cut them; who follows others hears so."""
        if self._closing:
            return
        self._closing = True
        end = asyncio.get_running_loop().time() + seconds
        if self._accepting:
            await asyncio.wait(set(self._accepting), timeout=seconds)
        left = max(0.0, end - asyncio.get_running_loop().time())
        for patience, outcome in ((left, Outcome.CUT), (CUT_PATIENCE, None)):
            tasks = [running.task for running in self._running.values()]
            if tasks:
                await asyncio.wait(tasks, timeout=patience)
            for running in self._running.values():
                running.end(outcome)
        for break_off in tuple(self._followers):
            break_off(StoreClosed(RESTARTING))

    @contextmanager
    def followed(self, break_off: Callable[[Exception], None]) -> Iterator[None]:
        """Tell `break_off` when this process stops before an answer that somebody follows has its end."""
        self._followers.add(break_off)
        try:
            yield
        finally:
            self._followers.discard(break_off)

    def _is_running(self, session: UUID) -> bool:
        running = self._running.get(session)
        # A task cancelled before its first step never came to take itself out.
        return running is not None and not running.task.done()

    def _start(self, turn: Turn, *, queued: bool = False) -> None:
        if self._is_running(turn.session.uuid):
            return  # a session runs one turn at a time; should this be the next one, it is found forgotten
        running = RunningTurn(turn.id)
        running.answer = Answer(turn, self._limits.delta_interval, self._publish, self._save)
        self._running[turn.session.uuid] = running
        # In a context of its own: what is logged is the turn's, not of the connection that began this one or the last.
        running.task = asyncio.get_running_loop().create_task(self._run(turn, running, queued), context=Context())

    async def _run(self, turn: Turn, running: RunningTurn, queued: bool) -> None:
        structlog.contextvars.bind_contextvars(turn=turn.id, session=str(turn.session.uuid))
        answer = running.answer
        try:
            outcome = await self._answer(turn, answer, running, queued)
            answer.flush()
            finished = await insisting.finish(self._store, self._ending(turn, answer, outcome))
        except asyncio.CancelledError:
            if not running.dropped:
                raise
            return
        finally:
            answer.close()
            if self._running.get(turn.session.uuid) is running:
                del self._running[turn.session.uuid]
        if finished is None:
            return
        self._publish(SessionTopic(turn.session.uuid), MessageStored(finished.message))
        self._observer.on_end(turn, answer, finished.message)
        if finished.in_outbox:
            self._wake_outbox()
        # While closing, the next turn stays claimed under a lease that ends now: another worker takes it over.
        if finished.next_turn is not None and not self._closing:
            self._start(finished.next_turn, queued=True)

    async def _answer(self, turn: Turn, answer: Answer, running: RunningTurn, queued: bool) -> Outcome:
        """Let the pipeline's routes fill `answer`; return how it ended."""
        if (ends_as := self._unwanted.pop(turn.id, turn.ends_as)) is not None:
            answer.text = turn.partial
            if ends_as is Outcome.CUT:
                answer.end_with(phrases.CUT[turn.language])
            return ends_as
        if turn.begun:
            answer.add(turn.partial)
            answer.end_with(phrases.BROKEN_OFF[turn.language])
            return Outcome.FAILED
        try:
            running.answering = True
            if queued:
                await self._courtesy.let_others_go_first(len(self._running))
            deadline = asyncio.get_running_loop().time() + self._limits.deadline
            async with asyncio.timeout_at(deadline):
                return await self._routes.answer(turn, answer, deadline)
        except TimeoutError:
            answer.end_with(phrases.CUT[turn.language])
            return Outcome.CUT
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if running.outcome is None or task is None:
                raise
            task.uncancel()
            if running.outcome is Outcome.CUT:
                answer.end_with((phrases.BROKEN_OFF if self._closing else phrases.CUT)[turn.language])
            return running.outcome
        finally:
            running.answering = False

    def _ending(self, turn: Turn, answer: Answer, outcome: Outcome) -> Finish:
        return Finish(
            turn=turn, worker=self._worker(), text=answer.text, outcome=outcome, shown=answer.shown,
            citations=answer.citations, usage=answer.reply.usage, responder=answer.responder,
            first_text_ms=answer.first_text_ms,
        )  # fmt: skip

    def _save(self, turn: Turn, text: str) -> None:
        try:
            saved = self._store.submit(SavePartial(turn, self._worker(), text))
        except StoreError as error:
            log.warning("turn.not_saved", turn=turn.id, reason=str(error))
        else:
            saved.add_done_callback(partial(self._heed, turn))

    def _heed(self, turn: Turn, saved: "asyncio.Future[Outcome | None]") -> None:
        """End a turn that was ended in the database, also where what told so was lost on the layer."""
        if saved.cancelled():
            return
        if (error := saved.exception()) is not None:
            log.warning("turn.not_saved", turn=turn.id, reason=str(error))
            return
        outcome, running = saved.result(), self._running.get(turn.session.uuid)
        if outcome is not None and running is not None and running.turn == turn.id:
            running.end(outcome)
