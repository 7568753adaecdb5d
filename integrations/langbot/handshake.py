"""What the query of a handshake asks for."""

from collections.abc import Mapping
from uuid import UUID

from conversations.types import DEFAULT_ROOM, SessionKey, SessionType, room_key
from integrations.errors import NORMAL, NOT_ALLOWED, WireError
from integrations.fields import LARGEST_SEQ
from integrations.langbot.protocol import NO_SEQ
from integrations.strict import ProtocolError

ROOM_NAME_LENGTH = 100
SEQ_DIGITS = len(str(LARGEST_SEQ))
BAD_SESSION_TYPE = "session_type must be person or group"
BAD_ROOM = f"session_id must have at most {ROOM_NAME_LENGTH} characters, and no NUL"
NO_SUCH_SESSION = "Session not found"


def session_type_of(name: object) -> SessionType:
    """Return the session type of that name; raise WireError where there is none such."""
    match name:
        case "person":
            return "person"
        case "group":
            return "group"
        case _:
            raise WireError(BAD_SESSION_TYPE, close_code=NORMAL)


def session_of(query: Mapping[str, str], pipeline: UUID, session_type: SessionType) -> SessionKey | None:
    """Return the session that is asked for, None where it is to be a new one; raise WireError where it can be none."""
    asked = query.get("session_id", "")
    if session_type == "group":
        if len(asked) > ROOM_NAME_LENGTH or "\0" in asked:
            raise WireError(BAD_ROOM, close_code=NOT_ALLOWED)
        return room_key(pipeline, asked or DEFAULT_ROOM)
    if not asked:
        return None
    try:
        return SessionKey(UUID(asked), pipeline, "person")
    except ValueError:
        raise WireError(NO_SUCH_SESSION, close_code=NOT_ALLOWED) from None


def resumes_after(query: Mapping[str, str]) -> int | None:
    """Return the seq after which a replay is asked for, None where none is; raise ProtocolError where it is no seq."""
    asked = query.get("last_seq")
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdigit() and len(asked) <= SEQ_DIGITS and int(asked) <= LARGEST_SEQ):
        raise ProtocolError(f"last_seq {NO_SEQ}")
    return int(asked)
