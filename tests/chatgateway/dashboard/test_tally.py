"""What of a conversation is counted, and under which name."""

import logging
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from chatgateway.dashboard.tally import Faults, Tally
from chatgateway.routing import gateway
from connections.metrics import ANSWER, ERROR, MESSAGE, REPEATED, TAKEN_OVER, Metrics
from conversations.answer import Answer
from conversations.signals import said
from conversations.types import MessageStored, Outcome, ReplyDelta, Role, SessionKey, StoredMessage, Turn

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = SessionKey(uuid4(), uuid4(), "person")
TURN = Turn(
    id=2, session=KEY, session_id=1, epoch=0, question="?", question_id=1, question_seq=1, language="en", reply_to="",
    stream=True, started=NOW,
)  # fmt: skip


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def message(outcome: Outcome | None = None, role: Role = Role.ASSISTANT) -> StoredMessage:
    return StoredMessage(2, KEY.uuid, "person", 2, role, "Words.", NOW, outcome=outcome)


def answer(*words: str) -> Answer:
    made = Answer(TURN, 0.05, lambda _topic, _event: None, lambda _turn, _text: None)
    for word in words:
        made.add(word)
    made.close()
    return made


def test_stored_messages_are_counted_by_who_said_them_and_deltas_are_not(metrics: Metrics) -> None:
    tally = Tally(metrics)
    for role in (Role.USER, Role.OPERATOR, Role.OPERATOR):
        tally.on_event(MessageStored(message(role=role)))
    tally.on_event(ReplyDelta(2, "person", "Wor", NOW))
    assert metrics.counts == {(MESSAGE, "user"): 1, (MESSAGE, "operator"): 2}


def test_what_an_operator_says_is_counted_where_he_says_it() -> None:
    before = gateway.metrics.total(MESSAGE)
    said.send(sender=None, event=MessageStored(message(role=Role.OPERATOR)))
    assert gateway.metrics.total(MESSAGE) == before + 1


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_a_turn_is_counted_by_how_it_ended(metrics: Metrics, outcome: Outcome) -> None:
    Tally(metrics).on_end(TURN, answer("Words."), message(outcome))
    assert metrics.counts[ANSWER, outcome] == 1
    assert metrics.total(ERROR) == (outcome in (Outcome.FAILED, Outcome.CUT))
    times = 0 if outcome in (Outcome.STOPPED, Outcome.HANDED) else 1
    assert sum(metrics.first_words.counts) == sum(metrics.whole_answers.counts) == times


async def test_an_answer_without_words_has_no_first_ones(metrics: Metrics) -> None:
    Tally(metrics).on_end(TURN, answer(), message(Outcome.CUT))
    assert (sum(metrics.first_words.counts), sum(metrics.whole_answers.counts)) == (0, 1)


@pytest.mark.parametrize("changes", [{"begun": True}, {"ends_as": Outcome.FAILED}])
async def test_what_was_not_asked_for_here_has_no_times(metrics: Metrics, changes: dict[str, object]) -> None:
    Tally(metrics).on_end(msgspec.structs.replace(TURN, **changes), answer("Words."), message(Outcome.FAILED))
    assert (metrics.total(ERROR), sum(metrics.whole_answers.counts)) == (1, 0)


def test_faults_of_our_own_are_counted_and_warnings_are_not(metrics: Metrics) -> None:
    log = logging.getLogger("tests.faults")
    log.addHandler(handler := Faults(metrics))
    try:
        log.error("connection.error")
        log.warning("database away")
    finally:
        log.removeHandler(handler)
    assert metrics.counts == {(ERROR, "fault"): 1}


def test_what_came_again_and_what_others_left_is_counted(metrics: Metrics) -> None:
    tally = Tally(metrics)
    tally.on_repeat("joined")
    for begun in (True, False):
        tally.on_take_over(msgspec.structs.replace(TURN, begun=begun))
    assert metrics.counts == {(REPEATED, "joined"): 1, (TAKEN_OVER, "broken off"): 1, (TAKEN_OVER, "anew"): 1}
