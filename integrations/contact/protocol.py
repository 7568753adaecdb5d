"""The contact wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal

import msgspec

from integrations.strict import ProtocolError, decode

QUESTION = 1000  # characters of a chat message
REQUEST = 5000  # characters of a contact request
CLAIM = 64  # characters kept of the time that a client says it is
USER_AGENT = 300  # characters kept of what a browser calls itself
CREDENTIAL = 200  # characters of a client id or resume token
SHOWN_TYPE = 100  # characters of an unknown type that its error repeats

NOT_JSON = "消息格式错误，必须是有效的JSON"


# --- Client to server --------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True):
    """Asks for a pong."""


class ContactRequest(msgspec.Struct, frozen=True):
    """Words for the owner. `timestamp` is the client's claim; empty where it made none."""

    message: str
    timestamp: str = ""
    user_agent: str = ""


class ChatMessage(msgspec.Struct, frozen=True):
    """A question. `timestamp` is the client's claim; empty where it made none."""

    message: str
    timestamp: str = ""


class Resume(msgspec.Struct, frozen=True):
    """Re-enters a session and asks for what came after `last_seq`."""

    client_id: str
    resume_token: str
    last_seq: int


ClientFrame = Ping | ContactRequest | ChatMessage | Resume


def parse(data: str | bytes) -> ClientFrame:
    """Return the frame in one message; raise ProtocolError, whose text is what the client is told."""
    try:
        value = decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    kind = value.get("type")
    if kind is None or kind == "":
        raise _missing("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        shown = kind if isinstance(kind, str) else msgspec.json.encode(kind).decode()
        raise ProtocolError(f"未知的消息类型: {shown[:SHOWN_TYPE]}")
    return read(value)


def _contact_request(value: dict[str, Any]) -> ContactRequest:
    return ContactRequest(
        message=_text(value, "message", REQUEST),
        timestamp=_timestamp(value),
        user_agent=_claim(value, "userAgent", USER_AGENT, str),
    )


def _chat_message(value: dict[str, Any]) -> ChatMessage:
    return ChatMessage(message=_text(value, "message", QUESTION), timestamp=_timestamp(value))


def _resume(value: dict[str, Any]) -> Resume:
    client_id, token = _text(value, "client_id", CREDENTIAL), _text(value, "resume_token", CREDENTIAL)
    last_seq = value.get("last_seq")
    if last_seq is None:
        raise _missing("last_seq")
    if not isinstance(last_seq, int) or isinstance(last_seq, bool) or not 0 <= last_seq < 2**63:
        raise _misfit("last_seq")
    return Resume(client_id, token, last_seq)


def place(text: str) -> int | None:
    """Return the `last_seq` that a query asks for, None where it is empty; raise ProtocolError."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _misfit("last_seq")
    return int(text)


_READERS: dict[str, Callable[[dict[str, Any]], ClientFrame]] = {
    "ping": lambda value: Ping(),
    "contact_request": _contact_request,
    "chat_message": _chat_message,
    "resume": _resume,
}


def _text(value: dict[str, Any], name: str, longest: int) -> str:
    """Return a required text."""
    text = value.get(name)
    if text is None or (isinstance(text, str) and not text.strip()):
        raise _missing(name)
    if not isinstance(text, str):
        raise _misfit(name)
    if len(text) > longest:
        raise ProtocolError(f"内容过长: {name} 最多{longest}个字符")
    return text


def _timestamp(value: dict[str, Any]) -> str:
    """Return the time that a client says it is; browsers send their clock as a number too."""
    return _claim(value, "timestamp", CLAIM, str | int | float)


def _claim(value: dict[str, Any], name: str, longest: int, kinds: type | UnionType) -> str:
    """Return what a client says of itself, cut to `longest`; empty where it says nothing."""
    claim = value.get(name)
    if claim is None:
        return ""
    if isinstance(claim, bool) or not isinstance(claim, kinds):
        raise _misfit(name)
    return str(claim)[:longest]


def _missing(name: str) -> ProtocolError:
    return ProtocolError(f"缺少必需字段: {name}")


def _misfit(name: str) -> ProtocolError:
    return ProtocolError(f"字段格式错误: {name}")


# --- Server to client --------------------------------------------------------------------------


class Established(msgspec.Struct, frozen=True, tag_field="type", tag="connection_established"):
    """The greeting."""

    message: str
    client_id: str
    timestamp: str
    resume_token: str


class ContactReceived(msgspec.Struct, frozen=True, tag_field="type", tag="contact_request_received"):
    """A contact request was stored, and the owner is about to hear of it."""

    message: str
    request_id: str
    timestamp: str
    status: str
    seq: int | msgspec.UnsetType = msgspec.UNSET


class ChatReceived(msgspec.Struct, frozen=True, tag_field="type", tag="chat_message_received"):
    """A chat message was stored."""

    message: str
    message_id: str
    timestamp: str
    seq: int | msgspec.UnsetType = msgspec.UNSET


class Said(msgspec.Struct, frozen=True, tag_field="type", tag="chat_message"):
    """An answer, the owner's words, or in a replay the visitor's own.

    `message_id` is there for those who asked for increments or resumed: on an answer that of its question.
    """

    message: str
    sender: Literal["assistant", "owner", "user"]
    timestamp: str
    message_id: str | msgspec.UnsetType = msgspec.UNSET
    seq: int | msgspec.UnsetType = msgspec.UNSET


class ChatDelta(msgspec.Struct, frozen=True, tag_field="type", tag="chat_delta"):
    """What an answer has grown by; `message_id` is its question's."""

    message_id: str
    delta: str


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping."""

    timestamp: str


class Resumed(msgspec.Struct, frozen=True, tag_field="type", tag="resumed"):
    """Says whether what was missed follows, and up to where."""

    resumed: bool
    client_id: str
    last_seq: int
    timestamp: str


class Announcement(msgspec.Struct, frozen=True, tag_field="type", tag="broadcast"):
    """Words to everybody connected."""

    message: msgspec.Raw
    timestamp: str


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """What is wrong with the connection or its last frame; `retry_after` in seconds."""

    message: str
    timestamp: str
    retry_after: int | msgspec.UnsetType = msgspec.UNSET


ServerFrame = Established | ContactReceived | ChatReceived | Said | ChatDelta | Pong | Resumed | Announcement | Error

_encode = msgspec.json.Encoder().encode


def serialise(frame: ServerFrame) -> bytes:
    """Return a frame as JSON."""
    return _encode(frame)


def stamp(time: datetime) -> str:
    """Return a time as this wire writes it: ISO 8601, UTC with offset."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
