"""What a wire may be sent: anything at all, and what is nearly one of its own frames."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from integrations.examples import load

Objects = st.SearchStrategy[dict[str, Any]]
LEFT_OUT = object()

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def texts(wire: str) -> dict[str, str]:
    """Return a wire's examples by the names of their files, such as `client_ping`."""
    return {f"{example.direction}_{example.name}": example.text for example in load(wire)}


def client_frames(wire: str) -> list[dict[str, Any]]:
    """Return the real frames of a wire's clients."""
    return [json.loads(example.text) for example in load(wire) if example.direction == "client"]


def nearly(real: Sequence[dict[str, Any]], **own: st.SearchStrategy[Any]) -> Objects:
    """Real objects with up to three fields left out, or with another one's value or anything; `own` add values."""
    other = st.just(LEFT_OUT) | any_json
    values = {name: other | more for name, more in own.items()}
    for name in sorted({name for example in real for name in example}):
        found = st.sampled_from([example[name] for example in real if name in example])
        values[name] = values.get(name, other) | found
    change = st.sampled_from(list(values)).flatmap(lambda name: st.tuples(st.just(name), values[name]))
    return st.builds(_changed, st.sampled_from(real), st.lists(change, max_size=3))


def _changed(real: dict[str, Any], changes: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in {**real, **dict(changes)}.items() if value is not LEFT_OUT}


def anything(objects: Objects) -> st.SearchStrategy[str | bytes]:
    """Text, bytes, any JSON, and `objects` as JSON, with and without escapes."""
    return (
        st.text(st.characters())
        | st.binary()
        | any_json.map(json.dumps)
        | objects.map(json.dumps)
        | objects.map(lambda frame: json.dumps(frame, ensure_ascii=False))
    )
