"""The pipeline wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec

from integrations.strict import ProtocolError, decode

BOT = "websocketbot"
# Frames up to this length are parsed once: a ping is the same text every time. Too short for a frame with a token.
CACHED_LENGTH = 40
COMPONENTS = 200  # a message has at most so many
SessionType = Literal["person", "group"]


# --- Components of a message -------------------------------------------------------------------


class Plain(msgspec.Struct, frozen=True, tag=True):
    """Text."""

    text: str


class At(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Somebody addressed; BOT is the bot."""

    target: str | int
    display: str | None = None


class AtAll(msgspec.Struct, frozen=True, tag=True):
    """Everybody addressed."""


class Quote(msgspec.Struct, frozen=True, tag=True):
    """An earlier message, quoted."""

    origin: list[Any]
    id: str | int | None = None


class Attachment(msgspec.Struct, frozen=True):
    """Where an Image, Voice or File is."""

    url: str | None = None
    path: str | None = None
    base64: str | None = None


class Image(Attachment, frozen=True, tag=True):
    """A picture."""

    image_id: str | None = None


class Voice(Attachment, frozen=True, tag=True):
    """A recording."""

    voice_id: str | None = None
    length: float | None = None


class File(Attachment, frozen=True, tag=True):
    """A file."""

    id: str | None = None
    name: str | None = None
    size: int | None = None


class Other(msgspec.Struct, frozen=True):
    """A component of a kind this server does not know: kept and echoed, and no text."""


Component = Plain | At | AtAll | Quote | Image | Voice | File | Other
_COMPONENTS: dict[str, Any] = {kind.__name__: kind for kind in (Plain, At, AtAll, Quote, Image, Voice, File)}


# --- Client to server --------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True):
    """Asks for a pong."""


class ChatMessage(msgspec.Struct, frozen=True):
    """Something said: `components` as understood, `chain` the same list as it came, as JSON text."""

    components: tuple[Component, ...]
    chain: str
    stream: bool = True
    client_msg_id: str | None = None


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


class _AuthenticateFields(msgspec.Struct):
    token: str = ""


class _ResumeFields(msgspec.Struct):
    last_seq: int


def _message(value: dict[str, Any]) -> ChatMessage:
    fields: _MessageFields = _convert(value, _MessageFields)
    if fields.client_msg_id is not None and not 0 < len(fields.client_msg_id) <= 128:
        raise ProtocolError("client_msg_id must have 1 to 128 characters")
    if len(fields.message) > COMPONENTS:
        raise ProtocolError(f"message must have at most {COMPONENTS} components")
    return ChatMessage(
        components=tuple(_component(item, f"message[{index}]") for index, item in enumerate(fields.message)),
        chain=_encode(fields.message).decode(),
        stream=fields.stream is not False,
        client_msg_id=fields.client_msg_id,
    )


def _resume(value: dict[str, Any]) -> Resume:
    fields: _ResumeFields = _convert(value, _ResumeFields)
    if not 0 <= fields.last_seq < 2**63:
        raise ProtocolError("last_seq must be a whole number, not below 0")
    return Resume(fields.last_seq)


_READERS: dict[str, Callable[[dict[str, Any]], ClientFrame]] = {
    "ping": lambda value: Ping(),
    "message": _message,
    "stop": lambda value: Stop(),
    "disconnect": lambda value: Disconnect(),
    "authenticate": lambda value: Authenticate(_convert(value, _AuthenticateFields).token),
    "resume": _resume,
}


def _component(item: Any, where: str) -> Component:
    if not isinstance(item, dict):
        raise ProtocolError(f"{where} must be an object")
    kind = item.get("type")
    if not isinstance(kind, str):
        raise ProtocolError(f"{where}.type is required")
    if kind not in _COMPONENTS:
        return Other()
    component: Component = _convert(item, _COMPONENTS[kind], f"{where}.")
    if isinstance(component, Attachment) and component.base64:
        raise ProtocolError(f"{where}.base64 is not taken by this server, send url or path")
    return component


_MISSING = re.compile(r"missing required field `(\w+)`")
_MISFIT = re.compile(r"Expected `([^`]+)`.* - at `\$\.?([^`]*)`")
_WORDS = {"str": "a string", "int": "a whole number", "array": "a list", "bool": "true or false", "float": "a number"}


def _convert(value: dict[str, Any], kind: Any, where: str = "") -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if missing := _MISSING.search(str(error)):
            raise ProtocolError(f"{where}{missing[1]} is required") from error
        if misfit := _MISFIT.search(str(error)):
            kinds = (_WORDS.get(name, name) for name in misfit[1].split(" | ") if name != "null")
            raise ProtocolError(f"{where}{misfit[2]} must be {' or '.join(kinds)}") from error
        raise ProtocolError(f"{where.rstrip('.') or 'frame'}: {error}") from error


# --- Meaning -----------------------------------------------------------------------------------


def text_of(components: Sequence[Component]) -> str:
    """Return a chain as text, the frame's `content`."""
    return "".join(_words(component) for component in components)


def mentions_bot(components: Sequence[Component]) -> bool:
    """Tell whether a message is addressed to the bot."""
    return any(isinstance(component, At) and str(component.target) == BOT for component in components)


def prompt_of(components: Sequence[Component]) -> str:
    """Return what is to be answered: the text without the bot's own mention."""
    said = (part for part in components if not (isinstance(part, At) and str(part.target) == BOT))
    return text_of(list(said)).strip()


def _words(component: Component) -> str:
    match component:
        case Plain():
            return component.text
        case At():
            return f"@{component.display or component.target}"
        case AtAll():
            return "@All"
        case Quote():
            return f"> {text_of(_quoted(component.origin))}\n"
        case Image():
            return "[Image]"
        case Voice():
            return "[Voice]"
        case File():
            return "[File]"
        case Other():
            return ""


def _quoted(origin: Sequence[Any]) -> list[Component]:
    """Return a quoted chain's components; what is amiss in a quotation is left out of its text, not refused."""
    components: list[Component] = []
    for item in origin:
        kind = item.get("type") if isinstance(item, dict) else None
        if not isinstance(kind, str) or kind not in _COMPONENTS:
            continue
        try:
            component: Component = msgspec.convert(item, _COMPONENTS[kind])
        except msgspec.ValidationError:  # `_component` would put it into words, for nobody
            continue
        if not isinstance(component, Attachment) or not component.base64:
            components.append(component)
    return components


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
    """A message as clients see it, in frames and in the history."""

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


class Connected(msgspec.Struct, frozen=True, tag_field="type", tag="connected"):
    """The greeting."""

    connection_id: str
    pipeline_uuid: str
    session_type: SessionType
    timestamp: str
    session_id: str
    resume_token: str
    last_seq: int


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
