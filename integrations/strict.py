"""The one strict JSON decoder. Pure.

Refused: what is not JSON, NaN and Infinity (also as an overflowing number), duplicate keys, lone surrogates, NUL
characters, nesting over MAX_DEPTH, more than MAX_VALUES values, whole numbers of more than MAX_DIGITS digits: a frame
of nothing but brackets or digits would hold the event loop for as long as a thousand frames do. The standard
library's scanner is used because it shows every pair of an object; faster decoders keep the last of two equal keys
without a word.
"""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_VALUES = 10_000  # in one text; an object or a list counts as one more
MAX_DIGITS = 309  # what a float can hold


class ProtocolError(Exception):
    """A frame that does not follow its wire; the text tells the client what is wrong with it."""


def decode(data: str | bytes, *, values: int = MAX_VALUES) -> Any:
    """Return the value of one JSON text of at most `values` values; raise ProtocolError where it is not strict."""
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        if not text.isascii():
            text.encode()  # a lone surrogate, which only a str can bring, is a ValueError too
        _refuse_crowd(text, values)
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("Invalid JSON format") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        raise ProtocolError("Invalid JSON format")
    if "\\u" in text and not _clean(value):
        raise ProtocolError("Invalid JSON format")
    return value


def _refuse_crowd(text: str, values: int) -> None:
    """Raise ValueError where more than `values` values begin; a few passes over the text, none of them in Python."""
    if _separators(text) <= values:
        return
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    strings = text.count('"') // 2
    # A value has two strings at most, its key and itself; so few can be cut out.
    if strings > 2 * values or _separators("".join(text.split('"')[::2])) > values:
        raise ValueError("too many values")


def _separators(text: str) -> int:
    """Return how many characters there are that a value begins after, or an object or list begins with."""
    return text.count(",") + text.count("[") + text.count("{")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole, parse_float=_finite, parse_constant=_refuse)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _clean(value: Any) -> bool:
    """Tell whether no string of `value` holds a NUL or half of a surrogate pair; only escapes can bring them."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item or not _encodes(item):
                return False
        else:
            waiting.extend(_children(item))
            if isinstance(item, dict):
                waiting.extend(item)
    return True


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
