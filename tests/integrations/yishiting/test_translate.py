"""What a call asks, which conversation and which question it is, and which answer a trace stands for."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest

from connections.auth import EVERYBODY, Principal
from conversations.types import Outcome, Role, StoredMessage
from integrations.yishiting.protocol import Call, Failed, callback, serialise
from integrations.yishiting.trace import answer_of, trace_of
from integrations.yishiting.translate import caller_of, last_delta, msg_id_of, question_of, whole
from tests.support.frames import texts

PIPELINE = UUID(int=1)
TRACE = "00000000-0002-88a0-a47c-8a17558238a7"
APPLICATION = Principal(kind="application", scopes=frozenset(), application=UUID(int=7))


def stored(role: Role = Role.ASSISTANT, text: str = "你好！", **more: object) -> StoredMessage:
    base = StoredMessage(
        id=2, session=UUID(int=3), session_type="person", seq=2, role=role, text=text, timestamp=datetime.now(UTC)
    )
    return msgspec.structs.replace(base, **more)


def test_the_session_id_names_the_conversation_and_else_the_user() -> None:
    def session(*call: str, principal: Principal = EVERYBODY) -> UUID:
        return question_of(Call(*call), principal, PIPELINE).session.uuid

    named = session("a", "u1", "m1", "s1")
    assert session("b", "u2", "m2", "s1") == named
    assert session("a", "u1", "m1") == session("b", "u1", "m2") != named
    assert session("a", "u1", "m1", "s1", principal=APPLICATION) != named
    assert session("a") != session("a")
    assert session("a", "", "m1") == session("a", "", "m1")
    assert session("a", "", "m1") not in (session("a", "m1"), session("a", "", "m2"))


def test_the_same_id_of_the_same_user_is_the_same_question() -> None:
    def key(*call: str) -> str | None:
        return question_of(Call(*call), EVERYBODY, PIPELINE).client_msg_id

    assert key("a", "u", "m" * 60_000) == key("b", "u", "m" * 60_000)
    assert len(key("a", "u", "m" * 60_000) or "") <= 128
    assert len({key("a", "u", "m"), key("a", "um", ""), key("a", "", "um"), key("a", "u2", "m")}) == 4
    assert key("a", "u") is None


def test_the_callers_id_is_kept_to_be_echoed() -> None:
    question = question_of(Call("你好 \n", "u", "消息"), EVERYBODY, PIPELINE)
    assert (question.text, question.prompt) == ("你好 \n", "你好")
    assert msg_id_of(stored(Role.USER, question.text, components=question.components)) == "消息"
    assert msg_id_of(stored(Role.USER)) == ""


def test_a_trace_is_of_one_answer_and_one_caller() -> None:
    for answer in (0, 5, 2**48 - 1):
        trace = trace_of(answer, "open")
        assert trace.version == 8
        assert answer_of(str(trace), "open") == answer
        assert answer_of(str(trace).upper(), "open") == answer
        assert answer_of(str(trace), caller_of(APPLICATION)) is None
    for wrong in ("", "x", str(uuid4()), str(UUID(int=5))):
        assert answer_of(wrong, "open") is None
    assert answer_of(str(UUID(int=trace_of(5, "open").int ^ 1)), "open") is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_an_answer_is_a_success(outcome: Outcome) -> None:
    event = last_delta("", stored(outcome=outcome))
    assert event.finished
    assert event.global_output.answer_success == (outcome is Outcome.ANSWERED)
    failed = outcome in (Outcome.FAILED, Outcome.STOPPED)
    assert isinstance(whole(stored(outcome=outcome), "open"), Failed) == failed


def posted(outcome: Outcome) -> str:
    answer = whole(stored(outcome=outcome), "open")
    return serialise(callback(msgspec.structs.replace(answer, third_party_trace_id=TRACE), "test_124")).decode()


def test_a_callback_is_an_answer_with_the_callers_id() -> None:
    assert posted(Outcome.ANSWERED) == texts("yishiting")["server_callback"]


def test_a_callback_of_what_failed_has_that_id_too() -> None:
    assert posted(Outcome.FAILED) == texts("yishiting")["server_callback_failed"]
