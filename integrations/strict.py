"""The one strict JSON decoder. Pure.

Refused: what is not JSON, NaN and Infinity (also as an overflowing number), duplicate keys, lone surrogates, NUL
characters, nesting over MAX_DEPTH. The standard library's scanner is used because it shows every pair of an object;
faster decoders keep the last of two equal keys without a word.
"""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32


class ProtocolError(Exception):
    """A frame that does not follow its wire; the text tells the client what is wrong with it."""


def decode(data: str | bytes) -> Any:
    """Return the value of one JSON text; raise ProtocolError where it is not strict."""
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        if not text.isascii():
            text.encode()  # a lone surrogate, which only a str can bring, is a ValueError too
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("Invalid JSON format") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
        raise ProtocolError("Invalid JSON format")
    if "\\u" in text and not _clean(value):
        raise ProtocolError("Invalid JSON format")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)


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
