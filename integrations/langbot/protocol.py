"""The pipeline wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

import msgspec

from integrations.fields import LARGEST_SEQ, SHOWN_AS
from integrations.langbot.components import At, Component, Plain, component_of, convert
from integrations.strict import ProtocolError, decode

# Frames up to this length are parsed once: a ping is the same text every time. Too short for a frame with a token.
CACHED_LENGTH = 40
COMPONENTS = 200  # a message has at most so many
CLIENT_MSG_ID = 128  # characters of a client's own id of a message
NO_SEQ = "must be a whole number, not below 0"
SessionType = Literal["person", "group"]

# --- Client to server --------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a pong."""


class Message(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """Something said. Without `stream` there is one final frame; `client_msg_id` makes it idempotent for 24 hours.

    With `contact` it is for a person: it opens a contact request, and the answer says so.
    """

    # A list of anything: each component is read on its own, so that a refusal names it.
    message: Annotated[list[Any], msgspec.Meta(max_length=COMPONENTS, extra={SHOWN_AS: list[Component]})] = []
    stream: bool | None = True
    client_msg_id: Annotated[str, msgspec.Meta(min_length=1, max_length=CLIENT_MSG_ID)] | None = None
    contact: bool | None = False


class ChatMessage(msgspec.Struct, frozen=True):
    """A message as understood: its `components`, and as `chain` the same list as it came, as JSON text."""

    components: tuple[Component, ...]
    chain: str
    stream: bool = True
    client_msg_id: str | None = None
    contact: bool = False


class Stop(msgspec.Struct, frozen=True, tag_field="type", tag="stop"):
    """Asks that the running answer ends."""


class Disconnect(msgspec.Struct, frozen=True, tag_field="type", tag="disconnect"):
    """Says goodbye."""


class Authenticate(msgspec.Struct, frozen=True, tag_field="type", tag="authenticate"):
    """Carries the credential; a `workspace_uuid` beside it is ignored."""

    token: str = ""


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Asks for what came after `last_seq`."""

    last_seq: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)]


class Unknown(msgspec.Struct, frozen=True):
    """A frame of a type this server does not know: ignored in silence, as LangBot does."""


ClientFrame = Ping | ChatMessage | Stop | Disconnect | Authenticate | Resume | Unknown
SentFrame = Ping | Message | Stop | Disconnect | Authenticate | Resume | Unknown  # in the wire's own shape


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
    if kind == "message":
        return _message(value)
    frame = _FRAMES.get(kind)
    return convert(value, frame, beyond=_BEYOND) if frame else Unknown()


_parse_short = lru_cache(maxsize=512)(_parse)

_FRAMES: dict[Any, Any] = {kind.__struct_config__.tag: kind for kind in get_args(SentFrame)}
_BEYOND = {
    "message": f"must have at most {COMPONENTS} components",
    "client_msg_id": f"must have 1 to {CLIENT_MSG_ID} characters",
    "last_seq": NO_SEQ,
}


def _message(value: dict[str, Any]) -> ChatMessage:
    sent: Message = convert(value, Message, beyond=_BEYOND)
    return ChatMessage(
        components=tuple(component_of(item, f"message[{index}]") for index, item in enumerate(sent.message)),
        chain=_encode(sent.message).decode(),
        stream=sent.stream is not False,
        client_msg_id=sent.client_msg_id,
        contact=sent.contact is True,
    )


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
    of it, what the visitor thinks of it, and whether it only says that a person was told.
    """

    id: int
    role: str
    content: str
    message_chain: Annotated[msgspec.Raw | list[Any], msgspec.Meta(extra={SHOWN_AS: list[Component]})]
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
    called: bool = False


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


class Reset(msgspec.Struct, frozen=True, tag_field="type", tag="reset"):
    """The session begins anew: what has an id below `first_id` is over. For those who asked for more."""

    first_id: int


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """What is wrong with the connection or its last frame; `retry_after` in seconds."""

    message: str
    retry_after: int | None = None


ServerFrame = Connected | Pong | Resumed | UserMessage | Response | Announcement | Reset | Error

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
