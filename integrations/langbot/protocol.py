"""The pipeline wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from integrations.langbot.components import At, Component, Plain, component_of, convert
from integrations.strict import ProtocolError, decode

# Frames up to this length are parsed once: a ping is the same text every time. Too short for a frame with a token.
CACHED_LENGTH = 40
COMPONENTS = 200  # a message has at most so many
SessionType = Literal["person", "group"]

# --- Client to server --------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True):
    """Asks for a pong."""


class ChatMessage(msgspec.Struct, frozen=True):
    """Something said: `components` as understood, `chain` the same list as it came, as JSON text.

    `contact`: it is for a person.
    """

    components: tuple[Component, ...]
    chain: str
    stream: bool = True
    client_msg_id: str | None = None
    contact: bool = False


class Stop(msgspec.Struct, frozen=True):
    """Asks that the running answer ends."""


class Disconnect(msgspec.Struct, frozen=True):
    """Says goodbye."""


class Authenticate(msgspec.Struct, frozen=True):
    """Carries the credential; a workspace beside it is ignored."""

    token: str


class Resume(msgspec.Struct, frozen=True):
    """Asks for what came after `last_seq`."""

    last_seq: int


class Unknown(msgspec.Struct, frozen=True):
    """A frame of a type this server does not know: ignored in silence, as LangBot does."""


ClientFrame = Ping | ChatMessage | Stop | Disconnect | Authenticate | Resume | Unknown


def parse(data: str | bytes) -> ClientFrame:
    """Return the frame in one message; raise ProtocolError, whose text names the field at fault."""
    return _parse_short(data) if len(data) <= CACHED_LENGTH else _parse(data)


def _parse(data: str | bytes) -> ClientFrame:
    value = decode(data)
    if not isinstance(value, dict):
        raise ProtocolError("a frame must be a JSON object")
    kind = value.get("type", "message")
    if not isinstance(kind, str):
        raise ProtocolError("type must be a string")
    read = _READERS.get(kind)
    return read(value) if read else Unknown()


_parse_short = lru_cache(maxsize=512)(_parse)


class _MessageFields(msgspec.Struct):
    message: list[Any] = []
    stream: bool | None = True
    client_msg_id: str | None = None
    contact: bool | None = False


class _AuthenticateFields(msgspec.Struct):
    token: str = ""


class _ResumeFields(msgspec.Struct):
    last_seq: int


def _message(value: dict[str, Any]) -> ChatMessage:
    fields: _MessageFields = convert(value, _MessageFields)
    if fields.client_msg_id is not None and not 0 < len(fields.client_msg_id) <= 128:
        raise ProtocolError("client_msg_id must have 1 to 128 characters")
    if len(fields.message) > COMPONENTS:
        raise ProtocolError(f"message must have at most {COMPONENTS} components")
    return ChatMessage(
        components=tuple(component_of(item, f"message[{index}]") for index, item in enumerate(fields.message)),
        chain=_encode(fields.message).decode(),
        stream=fields.stream is not False,
        client_msg_id=fields.client_msg_id,
        contact=fields.contact is True,
    )


def _resume(value: dict[str, Any]) -> Resume:
    fields: _ResumeFields = convert(value, _ResumeFields)
    if not 0 <= fields.last_seq < 2**63:
        raise ProtocolError("last_seq must be a whole number, not below 0")
    return Resume(fields.last_seq)


_READERS: dict[str, Callable[[dict[str, Any]], ClientFrame]] = {
    "ping": lambda value: Ping(),
    "message": _message,
    "stop": lambda value: Stop(),
    "disconnect": lambda value: Disconnect(),
    "authenticate": lambda value: Authenticate(convert(value, _AuthenticateFields).token),
    "resume": _resume,
}


# --- Server to client --------------------------------------------------------------------------


class Source(msgspec.Struct, frozen=True):
    """A passage that an answer was made from."""

    doc_id: str
    space_id: str
    title: str
    url: str
    score: float


class Speaker(msgspec.Struct, frozen=True):
    """Who spoke, where it was neither the visitor nor the bot."""

    kind: str
    name: str


class MessageData(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as clients see it, in frames and in the history.

    From `html` on only for those who asked for it: the content as safe HTML, how the answer ended, the sender's own id
    of it, and what the visitor thinks of it.
    """

    id: int
    role: str
    content: str
    message_chain: msgspec.Raw | list[Any]
    timestamp: str
    is_final: bool
    connection_id: str
    seq: int | None = None
    citations: tuple[Source, ...] | None = None
    sender: Speaker | None = None
    html: str | None = None
    outcome: str | None = None
    client_msg_id: str | None = None
    feedback: str | None = None


class Connected(msgspec.Struct, frozen=True, tag_field="type", tag="connected"):
    """The greeting; `language` for those who asked for it."""

    connection_id: str
    pipeline_uuid: str
    session_type: SessionType
    timestamp: str
    session_id: str
    resume_token: str
    last_seq: int
    language: str | msgspec.UnsetType = msgspec.UNSET


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping."""

    timestamp: str


class Resumed(msgspec.Struct, frozen=True, tag_field="type", tag="resumed"):
    """Says whether what was missed follows, and up to where."""

    resumed: bool
    last_seq: int


class UserMessage(msgspec.Struct, frozen=True, tag_field="type", tag="user_message"):
    """Something a person said, to everybody in the session."""

    session_type: SessionType
    data: MessageData


class Response(msgspec.Struct, frozen=True, tag_field="type", tag="response"):
    """An answer, cumulative until `is_final`."""

    session_type: SessionType
    data: MessageData


class Announcement(msgspec.Struct, frozen=True, tag_field="type", tag="broadcast"):
    """Words to every socket of the pipeline."""

    message: msgspec.Raw
    timestamp: str


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """What is wrong with the connection or its last frame; `retry_after` in seconds."""

    message: str
    retry_after: int | None = None


ServerFrame = Connected | Pong | Resumed | UserMessage | Response | Announcement | Error

_encode = msgspec.json.Encoder().encode


def serialise(frame: ServerFrame) -> bytes:
    """Return a frame as JSON."""
    return _encode(frame)


def answer_chain(session_type: SessionType, reply_to: str, text: str) -> list[Component]:
    """Return an answer as a chain; in a group it begins with whom it answers."""
    if session_type == "group" and reply_to:
        return [At(f"websocket_{reply_to}"), Plain(f" {text}")]
    return [Plain(text)]


def stamp(time: datetime) -> str:
    """Return a time as this wire writes it: ISO 8601, UTC with offset."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
