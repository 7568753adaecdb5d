"""What a message is made of: its components as types, what is refused of them, and what they mean. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from integrations.fields import misfits
from integrations.strict import ProtocolError

BOT = "websocketbot"
NOTHING: Mapping[str, str] = MappingProxyType({})


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
    """Where an Image, Voice or File is: elsewhere, an upload by its key, or inline, bare or as a data URL."""

    url: str | None = None
    path: str | None = None
    base64: str | None = None


class Image(Attachment, frozen=True, tag=True):
    """A picture."""

    image_id: str | None = None


class Voice(Attachment, frozen=True, tag=True):
    """A recording; it does not come inline."""

    base64: Annotated[str, msgspec.Meta(max_length=0)] | None = None
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


def component_of(item: Any, where: str) -> Component:
    """Return a component of a message; raise ProtocolError, which names the field at fault, below `where`."""
    if not isinstance(item, dict):
        raise ProtocolError(f"{where} must be an object")
    kind = item.get("type")
    if not isinstance(kind, str):
        raise ProtocolError(f"{where}.type is required")
    if kind not in _COMPONENTS:
        return Other()
    component: Component = convert(item, _COMPONENTS[kind], f"{where}.", _BEYOND)
    return component


_BEYOND = {"base64": "is not taken by this server, send url or path"}
_WORDS = {"str": "a string", "int": "a whole number", "array": "a list", "bool": "true or false", "float": "a number"}


def convert(value: dict[str, Any], kind: Any, where: str = "", beyond: Mapping[str, str] = NOTHING) -> Any:
    """Return an object as a type; raise ProtocolError, which names the field at fault, below `where`.

    `beyond` says of a field what it must be where it breaks a bound.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        misfit = next(misfits(value, kind))
        if misfit.is_missing:
            raise ProtocolError(f"{where}{misfit.field} is required") from error
        if misfit.kinds:
            kinds = (_WORDS.get(name, name) for name in misfit.kinds if name != "null")
            raise ProtocolError(f"{where}{misfit.field} must be {' or '.join(kinds)}") from error
        if misfit.field in beyond:
            raise ProtocolError(f"{where}{misfit.field} {beyond[misfit.field]}") from error
        raise ProtocolError(f"{where.rstrip('.') or 'frame'}: {misfit}") from error


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
            components.append(msgspec.convert(item, _COMPONENTS[kind]))
        except msgspec.ValidationError:  # `component_of` would put it into words, for nobody
            continue
    return components
