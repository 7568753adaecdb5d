"""The web chat's frames of an answer that grows: HTML at little cost, and always the end."""

import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from conversations.growing import AT_ONCE, GROWING, SHARE, SHARE_OF_ANSWER, GrowingAnswers
from conversations.markdown import render
from conversations.types import Broadcast, Citation, MessageStored, Outcome, ReplyDelta, Role, StoredMessage
from integrations.langbot.rich import RichEncoder

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SESSION = uuid4()
COST = 0.001  # seconds that each rendering takes here


class Times:
    """A clock that a test moves, and a processor's that every look moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.spent = 0.0
        self.encoder = RichEncoder(GrowingAnswers(lambda: self.now, self._look))

    def _look(self) -> float:
        self.spent += COST
        return self.spent

    def delta(self, text: str, answer: int = 7) -> dict[str, Any] | None:
        return data(self.encoder, ReplyDelta(answer, "person", text, NOW))

    def stored(self, text: str, answer: int = 7, role: Role = Role.ASSISTANT) -> dict[str, Any]:
        message = StoredMessage(answer, SESSION, "person", 2, role, text, NOW, outcome=Outcome.ANSWERED)
        told = data(self.encoder, MessageStored(message))
        assert told is not None
        return told


def data(encoder: RichEncoder, event: Any) -> dict[str, Any] | None:
    frame = encoder.encode(event)
    if frame is None:
        return None
    told: dict[str, Any] = json.loads(frame.payload)["data"]
    return told


def test_a_delta_is_left_out_where_its_html_would_cost_more_than_its_share() -> None:
    times = Times()
    first = times.delta("# One")
    assert first is not None
    assert first["html"] == "<h3>One</h3>\n"
    times.now += COST / SHARE_OF_ANSWER * 0.9
    assert times.delta("# One\n\nTwo") is None
    times.now += COST / SHARE_OF_ANSWER * 0.2
    later = times.delta("# One\n\nTwo **three**")
    assert later is not None
    assert later["html"] == render("# One\n\nTwo **three**")


def test_all_answers_together_have_their_share_too() -> None:
    times = Times()
    shown = [answer for answer in range(200) if times.delta("**words**", answer)]
    # So much at once, then as much as the share of the time that goes by allows.
    assert abs(len(shown) - AT_ONCE * SHARE / COST) <= 1
    more = 0
    for answer in range(200, 1200):
        times.now += 0.001
        more += times.delta("**words**", answer) is not None
    assert abs(more - SHARE / COST) <= 1


def test_the_end_is_told_whatever_it_costs() -> None:
    times = Times()
    assert times.delta("one")
    assert times.delta("one two") is None
    end = times.stored("one **two**")
    assert end["is_final"]
    assert end["html"] == render("one **two**")
    assert end["outcome"] == "answered"


def test_deltas_make_up_for_what_the_ends_cost() -> None:
    times = Times()
    for answer in range(int(AT_ONCE * SHARE / COST) + 2):
        times.stored("**words**", answer)
    assert times.delta("**words**", 1000) is None
    times.now += 3 * COST / SHARE
    assert times.delta("**words**", 1000) is not None


@pytest.mark.parametrize("piece", ["://" * 200, "http://a" * 75, "> " * 30 + "a\n" * 500])
def test_a_hostile_answer_holds_nobody_up(piece: str) -> None:
    # Beside one another, so that it is the text and not the machine.
    assert seconds_of(piece) < 20 * seconds_of("Some **bold** words in a sentence. " * 17)


def seconds_of(piece: str) -> float:
    """Return what an answer of 50 such pieces costs of a processor while it grows and as it ends."""
    encoder = RichEncoder()
    began = time.process_time()
    for pieces in range(1, 51):
        data(encoder, ReplyDelta(7, "person", piece * pieces, NOW))
    end = StoredMessage(7, SESSION, "person", 2, Role.ASSISTANT, piece * 50, NOW)
    assert data(encoder, MessageStored(end)) is not None
    return time.process_time() - began


def test_an_answer_that_was_not_seen_to_grow_is_rendered_at_its_end() -> None:
    assert Times().stored("# One\n\n[a]\n\n[a]: https://example.com")["html"].count("<a ") == 1


@pytest.mark.parametrize("is_named", [True, False])
def test_what_the_citations_say_is_left_out_of_the_html_and_no_other_words(is_named: bool) -> None:
    encoder, text = RichEncoder(), "See below.\n\nSource: A"
    named = ((10, len(text)),) if is_named else ()
    end = StoredMessage(
        7, SESSION, "person", 2, Role.ASSISTANT, text, NOW, citations=(Citation("a", "s", "A", "", 1.0, named),)
    )
    expected = "<p>See below.</p>\n" if is_named else "<p>See below.</p>\n<p>Source: A</p>\n"
    for event in (ReplyDelta(7, "person", text, NOW, named=named), MessageStored(end)):
        told = data(encoder, event)
        assert told is not None
        assert (told["html"], told["content"]) == (expected, text)


def test_an_operator_s_words_are_html_and_have_no_outcome_of_a_turn() -> None:
    message = StoredMessage(9, SESSION, "person", 3, Role.OPERATOR, "*Hello*", NOW)
    told = data(RichEncoder(), MessageStored(message))
    assert told is not None
    assert told["html"] == "<p><em>Hello</em></p>\n"
    assert "outcome" not in told


def test_answers_that_nobody_ends_are_forgotten() -> None:
    growing = GrowingAnswers(lambda: 0.0, lambda: 0.0)
    encoder = RichEncoder(growing)
    for answer in range(GROWING + 10):
        data(encoder, ReplyDelta(answer, "person", "words", NOW))
    assert len(growing) == GROWING


def test_what_is_no_message_is_told_as_ever() -> None:
    frame = RichEncoder().encode(Broadcast(message=msgspec.Raw(b'"words"'), timestamp=NOW))
    assert frame is not None
    assert json.loads(frame.payload)["message"] == "words"
