"""What the query of a handshake asks for, and what it cannot ask for."""

from uuid import UUID

import pytest

from conversations.types import SessionKey, room_key
from integrations.errors import NORMAL, NOT_ALLOWED, WireError
from integrations.langbot.handshake import ROOM_NAME_LENGTH, resumes_after, session_of, session_type_of
from integrations.strict import ProtocolError

PIPELINE = UUID(int=1)
SESSION = UUID(int=2)


def test_a_session_is_a_person_s_or_a_room() -> None:
    assert session_of({}, PIPELINE, "person") is None
    assert session_of({"session_id": str(SESSION)}, PIPELINE, "person") == SessionKey(SESSION, PIPELINE, "person")
    assert session_of({}, PIPELINE, "group") == room_key(PIPELINE, "default")
    assert session_of({"session_id": "hall"}, PIPELINE, "group") == room_key(PIPELINE, "hall")


@pytest.mark.parametrize(
    ("session_type", "asked", "says"),
    [
        ("person", "hall", "Session not found"),
        ("group", "x" * (ROOM_NAME_LENGTH + 1), "at most 100 characters"),
        ("group", "a\0b", "no NUL"),
    ],
)
def test_what_can_be_no_session_is_refused(session_type: str, asked: str, says: str) -> None:
    with pytest.raises(WireError, match=says) as refused:
        session_of({"session_id": asked}, PIPELINE, session_type_of(session_type))
    assert refused.value.close_code == NOT_ALLOWED


@pytest.mark.parametrize("name", ["", "Person", "people", None, 1, []])
def test_there_are_two_session_types(name: object) -> None:
    assert (session_type_of("person"), session_type_of("group")) == ("person", "group")
    with pytest.raises(WireError, match="session_type must be person or group") as refused:
        session_type_of(name)
    assert refused.value.close_code == NORMAL


@pytest.mark.parametrize(
    ("query", "after"),
    [({}, None), ({"last_seq": "0"}, 0), ({"last_seq": "007"}, 7), ({"last_seq": str(2**63 - 1)}, 2**63 - 1)],
)
def test_a_replay_begins_after_the_last_seq(query: dict[str, str], after: int | None) -> None:
    assert resumes_after(query) == after


@pytest.mark.parametrize("asked", ["", "abc", "-1", "1.5", "9" * 30, str(2**63), "١"])
def test_what_is_no_seq_is_refused(asked: str) -> None:
    with pytest.raises(ProtocolError, match="last_seq must be a whole number, not below 0"):
        resumes_after({"last_seq": asked})
