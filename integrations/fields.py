"""Objects as types, and what is wrong with one that does not fit: every wire has words of its own for it. Pure."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

# Text with something in it. Python takes the last ones for space too, JSON Schema's readers do not.
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
LARGEST_SEQ = 2**63 - 1  # what the database's column holds
SHOWN_AS = "shown_as"  # in a field's Meta.extra: the type that tells readers more than the one which is decoded

Kind = TypeVar("Kind", bound=msgspec.Struct)

_EXPECTED = re.compile(r"Expected `([^`]+)`, got ")
_LONGEST = re.compile(r"Expected `[^`]+` of length <= (\d+)")


class Misfit(Exception):  # noqa: N818  names what it is about
    """The first field of a type, in its own order, that an object does not fit.

    `value` is what stands there, UNSET where nothing does; `kinds` are what may, as msgspec names them, empty where
    only a bound is broken; `longest` is that of the length, where it is that one.
    """

    def __init__(self, field: str, value: Any, reason: str, *, required: bool) -> None:
        super().__init__(f"{reason} - at `$.{field}`")
        self.field = field
        self.value = value
        self.required = required
        expected = _EXPECTED.match(reason)
        self.kinds: tuple[str, ...] = tuple(expected[1].split(" | ")) if expected else ()
        longest = _LONGEST.match(reason)
        self.longest = int(longest[1]) if longest else None

    @property
    def is_missing(self) -> bool:
        """Whether nothing stands where something has to."""
        return self.value is msgspec.UNSET

    @property
    def is_empty(self) -> bool:
        """Whether nothing, null or blank text stands where something has to."""
        blank = isinstance(self.value, str) and not self.kinds and not self.value.strip()
        return self.required and (self.is_missing or self.value is None or blank)


def fit(value: Mapping[str, Any], kind: type[Kind], *, null_is_missing: bool = False) -> Kind:
    """Return an object as a type; raise Misfit where it does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if null_is_missing and None in value.values():
            return fit({name: member for name, member in value.items() if member is not None}, kind)
        raise next(misfits(value, kind)) from error


def misfits(value: Mapping[str, Any], kind: type[msgspec.Struct]) -> Iterator[Misfit]:
    """Yield what does not fit, in the type's own order."""
    for field in _fields_of(kind):
        given = value.get(field.encode_name, msgspec.UNSET)
        if given is msgspec.UNSET:
            if field.required:
                yield Misfit(field.encode_name, given, "missing", required=True)
            continue
        try:
            msgspec.convert(given, field.type)
        except msgspec.ValidationError as error:
            yield Misfit(field.encode_name, given, str(error), required=field.required)


_fields_of = cache(msgspec.structs.fields)
