"""What the playground knows of a wire: where it is spoken, and the conversation that its document shows. Pure data.

Texts in frames, values and what is waited for may hold `${name}`: what an earlier step kept, or one of `pipeline` (the
chosen one's UUID), `id` (new in each run), `tab` (the same in each run of a browser's tab), `now` and `seconds` (the
time, as text and as a number). A text that is nothing but `${name}` takes the kind of what it stands for.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

# In what is waited for: anything that is not empty; anything at all, as long as it is there.
SOMETHING = "*"
ANYTHING = "?"
# Of one frame or body, by the path to a member (`data.is_final`): what it has to be.
Shape = Mapping[str, Any]


class Field(msgspec.Struct, frozen=True):
    """A part of an address that can be edited; an argument whose value is empty is left out.

    `own` is the name of what the greeting of the panel's open socket kept: it is the value where there is such a thing.
    `without` warns of what a call does where the field is empty; it is translated, so mark it.
    """

    name: str
    place: Literal["path", "query"]
    value: str = ""
    choices: tuple[str, ...] = ()
    own: str = ""
    without: str = ""


class Way(msgspec.Struct, frozen=True):
    """An address of the wire: a socket (`WS`) or a call.

    The fields of its `path` stand in braces. `examples` names those of the wire's that are bodies of this call; a
    socket has all that no call names, these first. A call without an example has a `body`. `streams` is a call whose
    answer is shown as it comes. A `greeting` is the frame by which a socket tells what the fields of calls take for
    their `own`.
    """

    name: str
    method: Literal["WS", "GET", "POST"]
    path: str
    fields: tuple[Field, ...] = ()
    examples: tuple[str, ...] = ()
    body: str = ""
    streams: bool = False
    greeting: "Expect | None" = None


class Connect(msgspec.Struct, frozen=True, tag_field="do", tag="connect"):
    """Open a socket, which later steps name by `on`."""

    way: str
    on: str = ""
    values: Mapping[str, str] = {}


class Send(msgspec.Struct, frozen=True, tag_field="do", tag="send"):
    """Send a frame."""

    frame: Mapping[str, Any]
    on: str = ""


class Unless(msgspec.Struct, frozen=True):
    """A frame by which the gateway says that something is not set up, which is no failure.

    `words` tell what, and how it is set up; they are translated, so mark them.
    """

    shape: Shape
    words: str


class Expect(msgspec.Struct, frozen=True, tag_field="do", tag="expect"):
    """Wait for a frame of that shape; those of the shapes in `between` may come before it, and no others.

    `keep` gives names to members of it. The conversation ends where the frame of `unless` comes in its place.
    """

    shape: Shape
    between: tuple[Shape, ...] = ()
    keep: Mapping[str, str] = {}
    unless: Unless | None = None
    on: str = ""


class Closed(msgspec.Struct, frozen=True, tag_field="do", tag="closed"):
    """Wait until the server closes the socket with that code."""

    code: int = 1000
    on: str = ""


class Call(msgspec.Struct, frozen=True, tag_field="do", tag="call"):
    """Make a call, and hold its answer to what the document says.

    Of a streamed answer, `shape` is every event's and `last` the last one's.
    """

    way: str
    values: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None
    status: int = 200
    shape: Shape = {}
    last: Shape = {}
    keep: Mapping[str, str] = {}


Step = Connect | Send | Expect | Closed | Call


class Panel(msgspec.Struct, frozen=True):
    """A wire as the playground shows it. `name`, `about` and `note` are translated, so mark them.

    `document` is the title of the document whose conversation the `steps` are. `note` says what they bring about
    outside the page.
    """

    name: str
    about: str
    document: str
    ways: tuple[Way, ...]
    steps: tuple[Step, ...]
    note: str = ""
