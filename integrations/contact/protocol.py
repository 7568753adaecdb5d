"""The contact wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import msgspec

from integrations.fields import LARGEST_SEQ, NOT_BLANK, Misfit, fit
from integrations.strict import ProtocolError, decode

QUESTION = 1000  # characters of a chat message
REQUEST = 5000  # characters of a contact request
CLAIM = 64  # characters kept of the time that a client says it is
USER_AGENT = 300  # characters kept of what a browser calls itself
CREDENTIAL = 200  # characters of a client id or resume token
SHOWN_TYPE = 100  # characters of an unknown type that its error repeats

NOT_JSON = "消息格式错误，必须是有效的JSON"

Credential = Annotated[str, msgspec.Meta(max_length=CREDENTIAL, pattern=NOT_BLANK)]
Clock = str | int | float  # browsers send theirs as a number too


# --- Client to server --------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a pong."""


class ContactRequest(
    msgspec.Struct, frozen=True, tag_field="type", tag="contact_request", rename={"user_agent": "userAgent"}
):
    """Words for the owner. `timestamp` is the client's claim; empty where it made none."""

    message: Annotated[str, msgspec.Meta(max_length=REQUEST, pattern=NOT_BLANK)]
    timestamp: Clock = ""
    user_agent: str = ""

    @property
    def claim(self) -> str:
        """What is kept of the client's clock."""
        return str(self.timestamp)[:CLAIM]

    @property
    def browser(self) -> str:
        """What is kept of what the browser calls itself."""
        return self.user_agent[:USER_AGENT]


class ChatMessage(msgspec.Struct, frozen=True, tag_field="type", tag="chat_message"):
    """A question. `timestamp` is the client's claim; empty where it made none."""

    message: Annotated[str, msgspec.Meta(max_length=QUESTION, pattern=NOT_BLANK)]
    timestamp: Clock = ""

    @property
    def claim(self) -> str:
        """What is kept of the client's clock."""
        return str(self.timestamp)[:CLAIM]


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Re-enters a session and asks for what came after `last_seq`."""

    client_id: Credential
    resume_token: Credential
    last_seq: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)]


ClientFrame = Ping | ContactRequest | ChatMessage | Resume
_FRAMES: dict[Any, type[ClientFrame]] = {kind.__struct_config__.tag: kind for kind in get_args(ClientFrame)}


def parse(data: str | bytes) -> ClientFrame:
    """Return the frame in one message; raise ProtocolError, whose text is what the client is told."""
    try:
        value = decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    kind = value.get("type")
    if kind == "ping":  # the most frequent one
        return Ping()
    if kind is None or kind == "":
        raise _missing("type")
    frame = _FRAMES.get(kind) if isinstance(kind, str) else None
    if frame is None:
        shown = kind if isinstance(kind, str) else msgspec.json.encode(kind).decode()
        raise ProtocolError(f"未知的消息类型: {shown[:SHOWN_TYPE]}")
    try:
        return fit(value, frame, null_is_missing=True)
    except Misfit as misfit:
        raise _refusal(misfit) from misfit


def place(text: str) -> int | None:
    """Return the `last_seq` that a query asks for, None where it is empty; raise ProtocolError."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ProtocolError("字段格式错误: last_seq")
    return int(text)


def _refusal(misfit: Misfit) -> ProtocolError:
    name = misfit.field
    if misfit.is_empty:
        return _missing(name)
    if misfit.longest is not None:
        return ProtocolError(f"内容过长: {name} 最多{misfit.longest}个字符")
    return ProtocolError(f"字段格式错误: {name}")


def _missing(name: str) -> ProtocolError:
    return ProtocolError(f"缺少必需字段: {name}")


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
