"""What a frame can have wrong with it: real frames of the wires, changed. A seed repeats every choice."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

LARGE = 60_000  # characters of a large text: as much as the wires for small screens take
MARK = "\ue000"  # stands where a value is put as it is, JSON or not
# JSON texts, and what some readers take for JSON.
ODD_VALUES = (
    "null", "true", "false", "0", "-1", "1.5", "-0", "1e400", "-1e999", "1E+2", "01", "+1", ".5", "0x10", "NaN",
    "Infinity", "-Infinity", "undefined", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "1" * 309, "1" * 310, "1" * 5_000, "[]", "{}", "[null]", "[[[[]]]]", '{"":""}', '{"type":"Plain"}', '{"a":1,"a":2}',
    '""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"', '"\\uFFFF"',
    '"\\x41"', '"\x00"', '"\x1f"', '"\x7f\x85\u2028\u2029"', '"\ufeff"', '"\u202e\u0300"', '"💥"',
    '"' + "字" * 2_000 + '"',
    '"00000000-0000-4000-8000-000000000001"', '"../../etc/passwd"', '"<script>alert(1)</script>"', "\"' OR 1=1 --\"",
    '"%s%n{0}{}"', '"2026-02-30T25:61:61Z"', '"1e9999"', '"type"', "'single'", '"open',
)  # fmt: skip


def mutated(chance: random.Random, frames: Sequence[Any]) -> str:
    """Return the text of one of `frames` with something wrong in it, or hardly a frame at all."""
    change: Callable[[random.Random, Any], str] = chance.choices(_CHANGES, _WEIGHTS)[0]
    return change(chance, chance.choice(frames))


# --- What can be wrong -------------------------------------------------------------------------


def _odd_value(chance: random.Random, frame: Any) -> str:
    return _with(frame, chance.choice(_paths(frame)), chance.choice(ODD_VALUES))


def _large_value(chance: random.Random, frame: Any) -> str:
    piece = chance.choice(("x", "字", "\\u0000", "\\\\", "💥", "["))
    return _with(frame, chance.choice(_paths(frame)), f'"{piece * (LARGE // len(piece.encode()))}"')


def _deep_value(chance: random.Random, frame: Any) -> str:
    depth = chance.choice((30, 31, 32, 33, 100, 1_000, 20_000))
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    end = chance.choice((closing * depth, ""))
    return _with(frame, chance.choice(_paths(frame)), f"{opening * depth}1{end}"[:LARGE])


def _crowd(chance: random.Random, frame: Any) -> str:
    many = chance.choice((9_000, 12_000, 20_000))
    return _with(frame, chance.choice(_paths(frame)), f"[{','.join(['1'] * many)}]")


def _odd_member(chance: random.Random, frame: Any) -> str:
    """Give it a member more: unknown, twice there, or with a name that is none."""
    names = [json.dumps(name) for name in frame] + ['"new"', '""', '"\\u0000"', '"\\ud800"', '"__proto__"', "type", "1"]
    return f"{json.dumps(frame)[:-1]}, {chance.choice(names)}: {chance.choice(ODD_VALUES)}}}"


def _member_left_out(chance: random.Random, frame: Any) -> str:
    gone = chance.choice(list(frame))
    return json.dumps({name: value for name, value in frame.items() if name != gone})


def _other_type(chance: random.Random, frame: Any) -> str:
    """Give it the type of another frame, or one that nobody has."""
    known = "ping message chat chat_message contact_request resume login stop heartbeat msg log register partial"
    return json.dumps({**frame, "type": chance.choice((*known.split(), "", "typ\u00e9", "x" * 200))})


def _cut(chance: random.Random, frame: Any) -> str:
    text = json.dumps(frame, ensure_ascii=False)
    return text[: chance.randrange(len(text))]


def _spliced(chance: random.Random, frame: Any) -> str:
    text = json.dumps(frame, ensure_ascii=False)
    at = chance.randrange(len(text))
    noise = "".join(chance.choice('{}[]",:\\/\x00\x1f\ufeff\u2028é💥0e-+tfn ') for _ in range(chance.randint(1, 8)))
    return text[:at] + noise + text[at + chance.randrange(4) :]


def _no_object(chance: random.Random, _frame: Any) -> str:
    return chance.choice((*ODD_VALUES, "", " ", "{", "}", "[{}]", "\ufeff{}", "{}{}", "{} x", "/*c*/{}", '{"a":1,}'))


def _as_it_is(_chance: random.Random, frame: Any) -> str:
    return json.dumps(frame)


_WEIGHTED: dict[Callable[[random.Random, Any], str], float] = {
    _odd_value: 40,
    _odd_member: 12,
    _member_left_out: 10,
    _other_type: 10,
    _spliced: 10,
    _cut: 6,
    _no_object: 6,
    _as_it_is: 6,
    _deep_value: 2,
    _large_value: 0.5,
    _crowd: 0.5,
}
_CHANGES, _WEIGHTS = list(_WEIGHTED), list(_WEIGHTED.values())


def _paths(value: Any) -> list[tuple[Any, ...]]:
    """Return where each value in `value` is, itself first."""
    inner: list[tuple[Any, Any]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(), *((name, *path) for name, child in inner for path in _paths(child))]


def _with(value: Any, path: tuple[Any, ...], text: str) -> str:
    """Return the JSON of `value` with `text` at `path`, as it is."""
    return json.dumps(_marked(value, path)).replace(json.dumps(MARK), text)


def _marked(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return MARK
    name, *rest = path
    if isinstance(value, dict):
        return {**value, name: _marked(value[name], tuple(rest))}
    return [*value[:name], _marked(value[name], tuple(rest)), *value[name + 1 :]]
