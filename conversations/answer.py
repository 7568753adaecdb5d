"""An answer as it grows, and the turn that makes it as this process runs it."""

import asyncio
from collections.abc import Callable

import msgspec

from conversations.types import (
    Citation,
    ControlTopic,
    Event,
    Outcome,
    Reply,
    ReplyDelta,
    SessionTopic,
    SourceLine,
    Span,
    StoredMessage,
    Turn,
)

Publish = Callable[[SessionTopic | ControlTopic, Event], None]

SAVE_EVERY = 1.0  # seconds between two notes of a growing answer


class Answer:
    """An answer as it grows: its text so far, and the deltas that tell of it."""

    def __init__(self, turn: Turn, interval: float, publish: Publish, save: Callable[[Turn, str], None]) -> None:
        self.text = ""
        self.shown = turn.partial  # so much of it as was told
        self.reply = Reply()
        self.responder = ""
        self.first_text_ms: int | None = None
        self._turn = turn
        self._interval = interval
        self._publish = publish
        self._save = save
        self._lead = ""
        self._named: list[tuple[str, Span]] = []  # documents, and where the text names them
        self._loop = asyncio.get_running_loop()
        self._began = self._saved = self._loop.time()
        self._emitted = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._loop.time() - self._began

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What the answer was made from, each with where the text names it."""
        return tuple(
            msgspec.structs.replace(cited, named=tuple(span for doc_id, span in self._named if doc_id == cited.doc_id))
            for cited in self.reply.citations
        )

    def lead(self, text: str) -> None:
        """Put `text` before whatever is added first."""
        self._lead = text

    def add(self, text: str) -> None:
        """Append text and tell the session: now, or when the interval since the last delta is over."""
        if not text:
            return
        if not self.text:
            self.text = self._lead
            self.first_text_ms = int((self._loop.time() - self._began) * 1000)
        if isinstance(text, SourceLine):
            self._named.append((text.doc_id, (len(self.text), len(self.text) + len(text))))
        self.text += text
        if self._turn.stream and self._timer is None and not self._closed:
            due = self._emitted + self._interval
            if self._loop.time() >= due:
                self._emit()
            else:
                self._timer = self._loop.call_at(due, self._emit)
        elif not self._turn.stream:
            self._keep(self._loop.time())

    def end_with(self, sentence: str) -> None:
        """Add a sentence of the gateway's own, set apart from what was said."""
        self._lead = ""
        self.add(f"\n\n{sentence}" if self.text else sentence)

    def flush(self) -> None:
        """Tell the last state where it is not told yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._emit()

    def close(self) -> None:
        """Send no more deltas."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _emit(self) -> None:
        turn = self._turn
        self._timer = None
        self._emitted = now = self._loop.time()
        self.shown = self.text
        self._publish(
            SessionTopic(turn.session.uuid),
            ReplyDelta(
                turn.id, turn.session.session_type, self.text, turn.started, turn.reply_to, turn.question_id,
                named=tuple(span for _, span in self._named),
            ),
        )  # fmt: skip
        self._keep(now)

    def _keep(self, now: float) -> None:
        if now - self._saved >= SAVE_EVERY:
            self._saved = now
            self._save(self._turn, self.text)


class Observer:
    """Hears what becomes of questions; this one does nothing with it."""

    def on_repeat(self, outcome: str) -> None:
        """Hear that a client message id came again: `answered`, `joined` to an answer in progress, or `refused`."""

    def on_take_over(self, turn: Turn) -> None:
        """Hear that a turn which a dead worker left is this one's now."""

    def on_end(self, turn: Turn, answer: Answer, message: StoredMessage) -> None:
        """Hear that a turn has ended in `message`."""

    def on_full(self, what: str) -> None:
        """Hear that a question was refused, because too many `turns` run."""


UNOBSERVED = Observer()


class RunningTurn:
    """A turn's task and, once somebody ended it early, why."""

    task: asyncio.Task[None]
    answer: Answer

    def __init__(self, turn: int) -> None:
        self.turn = turn
        self.outcome: Outcome | None = None
        self.answering = False
        self.dropped = False

    def end(self, outcome: Outcome | None) -> None:
        """End the answer with `outcome` if it is still being made; None drops the turn without an end."""
        if outcome is None:
            self.dropped = True
            self.task.cancel()
        elif self.answering and self.outcome is None:
            self.outcome = outcome
            if outcome is Outcome.HANDED:
                self.answer.close()  # not a word more
            self.task.cancel()
