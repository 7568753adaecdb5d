"""The frames between staff's pages and their socket as types, `parse` and `serialise`. Pure.

    {"type":"open","token":…}              ─►  {"type":"ready"}
    {"type":"watch","what":[…]}            ─►  {"type":"changed","what":…}, at once and whenever it is
    {"type":"follow","session":uuid}       ─►  {"type":"stored","session":…,"seq":n}, at once and with each message
                                               {"type":"growing","turn":id,"html":…}, an answer so far
    {"type":"ping"}                        ─►  {"type":"pong"}

What a page may not see, or cannot be read, is answered with {"type":"error","message":…}.
"""

from typing import Annotated
from uuid import UUID

import msgspec

from chatgateway.live.events import What
from integrations.strict import ProtocolError, decode

TOKEN = 200  # characters that a page's token may have

# --- Page to gateway ---------------------------------------------------------------------------


class Open(msgspec.Struct, frozen=True, tag_field="type", tag="open"):
    """The first frame: the token of the page."""

    token: Annotated[str, msgspec.Meta(max_length=TOKEN)]


class Watch(msgspec.Struct, frozen=True, tag_field="type", tag="watch"):
    """What the page shows, in place of what it showed before."""

    what: frozenset[What]


class Follow(msgspec.Struct, frozen=True, tag_field="type", tag="follow"):
    """The conversation that the page shows, in place of the one before."""

    session: UUID


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a pong."""


PageFrame = Open | Watch | Follow | Ping


def parse(data: str | bytes) -> PageFrame:
    """Return the frame in one message; raise ProtocolError, whose text names the field at fault."""
    value = decode(data)
    try:
        frame: PageFrame = msgspec.convert(value, PageFrame)
    except msgspec.ValidationError as error:
        raise ProtocolError(str(error)) from error
    return frame


# --- Gateway to page ---------------------------------------------------------------------------


class Ready(msgspec.Struct, frozen=True, tag_field="type", tag="ready"):
    """The token is good: the page may watch and follow."""


class OutOfDate(msgspec.Struct, frozen=True, tag_field="type", tag="changed"):
    """What the page shows of `what` is out of date."""

    what: What


class Growing(msgspec.Struct, frozen=True, tag_field="type", tag="growing"):
    """An answer of the followed conversation so far, as safe HTML; `turn` is the id that its message will have."""

    turn: int
    html: str


class Stored(msgspec.Struct, frozen=True, tag_field="type", tag="stored"):
    """How far the followed conversation has got."""

    session: UUID
    seq: int


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping."""


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """What is wrong with the socket or its last frame; `retry_after` in seconds."""

    message: str
    retry_after: int | None = None


GatewayFrame = Ready | OutOfDate | Growing | Stored | Pong | Error

_encode = msgspec.json.Encoder().encode


def serialise(frame: GatewayFrame) -> bytes:
    """Return a frame as JSON."""
    return _encode(frame)
