"""Counts what happens in conversations, for the statistics: connections keeps the numbers and knows no conversation."""

import logging
from collections import Counter
from collections.abc import Sequence

from connections.metrics import (
    ANSWER,
    BREAKER,
    ERROR,
    JOB,
    MESSAGE,
    MODEL,
    OUTBOX,
    REPEATED,
    SHED,
    STORE,
    TAKEN_OVER,
    Metrics,
)
from conversations import answer, store
from conversations.answer import Answer
from conversations.responders.calls import Failure
from conversations.store import OutcomeUnknown, StoreUnavailable, Unstorable
from conversations.types import MessageStored, Outcome, StoredMessage, Turn

# Whose errors are faults of our own; those of a turn are counted with its end.
FAULTY = ("connections", "conversations.store", "conversations.transactions", "integrations")
_CUT_SHORT = (Outcome.STOPPED, Outcome.HANDED)  # by somebody, so that their times say nothing of the responders


_AWAY: dict[type, str] = {StoreUnavailable: "unavailable", OutcomeUnknown: "unknown"}
_FAILURES: dict[type, str] = {**_AWAY, Unstorable: "unstorable"}


class Tally(answer.Observer, store.Observer):
    """Counts messages, answers and writes of this process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_event(self, event: object) -> None:
        """Count a message that was stored."""
        if isinstance(event, MessageStored):
            self._metrics.count(MESSAGE, event.message.role)

    def on_repeat(self, outcome: str) -> None:
        """Count a client message id that came again."""
        self._metrics.count(REPEATED, outcome)

    def on_take_over(self, turn: Turn) -> None:
        """Count a turn that another worker left."""
        self._metrics.count(TAKEN_OVER, "broken off" if turn.begun else "anew")

    def on_end(self, turn: Turn, answer: Answer, message: StoredMessage) -> None:
        """Count a turn that has ended in `message`, and how long it took."""
        outcome = message.outcome or Outcome.ANSWERED
        self._metrics.count(ANSWER, outcome)
        if outcome in (Outcome.FAILED, Outcome.CUT):
            self._metrics.count(ERROR, outcome)
        # What another worker had begun, and what nobody waited for any more, was not asked for here.
        if outcome in _CUT_SHORT or turn.begun or turn.ends_as is not None:
            return
        self._metrics.whole_answers.observe(answer.seconds)
        if answer.first_text_ms is not None:
            self._metrics.first_words.observe(answer.first_text_ms / 1000)

    def on_full(self, what: str) -> None:
        """Count something that was refused because there is too much of it."""
        self._metrics.count(SHED, what)

    def on_batch(self, results: Sequence[object], seconds: float) -> None:
        """Count what was written together, and note whether the database takes it."""
        kinds = Counter(map(type, results))
        for kind, reason in _FAILURES.items():
            self._metrics.count(STORE, reason, kinds[kind])
        failed = sum(kinds[kind] for kind in _FAILURES)
        self._metrics.count(JOB, "written", len(results) - failed)
        self._metrics.commits.observe(seconds)
        self._metrics.writes_fail = any(kinds[kind] for kind in _AWAY)

    def on_attempt(self, outcome: str) -> None:
        """Count an attempt to deliver something from the outbox."""
        self._metrics.count(OUTBOX, outcome)

    def on_model_failure(self, failure: Failure) -> None:
        """Count a call to a model that gave no whole answer; one that there was no room for was shed."""
        self._metrics.count(MODEL, failure)
        if failure is Failure.BUSY:
            self._metrics.count(SHED, "models")

    def on_breaker(self, change: str) -> None:
        """Count that a model is left alone from now on, or is asked again."""
        self._metrics.count(BREAKER, change)


class Faults(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(logging.ERROR)
        self._metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self._metrics.count(ERROR, "fault")
