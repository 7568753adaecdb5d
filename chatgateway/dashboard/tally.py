"""Counts what happens in conversations, for the statistics: connections keeps the numbers and knows no conversation."""

import logging

from connections.metrics import ANSWER, ERROR, MESSAGE, Metrics
from conversations.answer import Answer
from conversations.types import MessageStored, Outcome, StoredMessage, Turn

# Whose errors are faults of our own; those of a turn are counted with its end.
FAULTY = ("connections", "conversations.store", "integrations")
_CUT_SHORT = (Outcome.STOPPED, Outcome.HANDED)  # by somebody, so that their times say nothing of the responders


class Tally:
    """Counts messages and answers of this process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_event(self, event: object) -> None:
        """Count a message that was stored."""
        if isinstance(event, MessageStored):
            self._metrics.count(MESSAGE, event.message.role)

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


class Faults(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(logging.ERROR)
        self._metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self._metrics.count(ERROR, "fault")
