"""The strict decoder: what JSON allows and this server does not."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.strict import MAX_DEPTH, MAX_DIGITS, MAX_VALUES, ProtocolError, decode

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def nested(depth: int, inside: str = "") -> str:
    return "[" * depth + inside + "]" * depth


@given(documents)
def test_clean_json_is_taken_as_it_is(value: Any) -> None:
    assert decode(json.dumps(value)) == value
    assert decode(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.text(st.characters()) | st.binary())
def test_only_a_protocol_error_comes_out_of_anything(data: str | bytes) -> None:
    with suppress(ProtocolError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="half an object"),
        pytest.param("{} {}", id="two values"),
        pytest.param("{'a': 1}", id="single quotes"),
        pytest.param("NaN", id="NaN"),
        pytest.param("[Infinity]", id="Infinity"),
        pytest.param("[-Infinity]", id="-Infinity"),
        pytest.param("1e999", id="a number that overflows"),
        pytest.param("-1e999", id="a negative number that overflows"),
        pytest.param("9" * (MAX_DIGITS + 1), id="a whole number that overflows"),
        pytest.param("[" + ",".join("1" * (MAX_VALUES + 1)) + "]", id="too many numbers"),
        pytest.param("[" + ",".join(["{}"] * (MAX_VALUES // 2 + 1)) + "]", id="too many objects"),
        pytest.param(json.dumps(dict.fromkeys(map(str, range(MAX_VALUES + 1)), "")), id="too many keys"),
        pytest.param(json.dumps(["\\"] * (MAX_VALUES + 1)), id="too many strings that end with a backslash"),
        pytest.param(json.dumps(['",'] * (MAX_VALUES + 1)), id="too many strings that hold a quote"),
        pytest.param('{"a": 1, "a": 2}', id="the same key twice"),
        pytest.param('{"a": 1, "\\u0061": 2}', id="the same key twice, once escaped"),
        pytest.param('[{"b": {"a": 1, "a": 1}}]', id="the same key twice, deep inside"),
        pytest.param('"\\ud800"', id="half of a surrogate pair"),
        pytest.param('"\\udc00\\ud800"', id="a surrogate pair the wrong way round"),
        pytest.param('{"\\udfff": 1}', id="half of a surrogate pair in a key"),
        pytest.param('["\ud800"]', id="half of a surrogate pair, not escaped"),
        pytest.param(b'"\xed\xa0\x80"', id="half of a surrogate pair in UTF-8"),
        pytest.param('"\\u0000"', id="an escaped NUL"),
        pytest.param('[[{"a\\u0000": 1}]]', id="an escaped NUL in a key"),
        pytest.param('"\0"', id="a bare NUL"),
        pytest.param('"\n"', id="a bare line feed in a string"),
        pytest.param(b'"\xff"', id="bytes that are not UTF-8"),
        pytest.param('"a"'.encode("utf-16"), id="UTF-16"),
        pytest.param("\ufeff{}", id="a byte order mark"),
        pytest.param(nested(MAX_DEPTH + 1), id="33 empty lists in each other"),
        pytest.param(nested(MAX_DEPTH + 1, "1"), id="33 lists in each other"),
        pytest.param('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), id="33 objects in each other"),
        pytest.param(nested(200_000), id="so deep that the scanner gives up"),
        pytest.param("[" * 200_000, id="so deep that the scanner gives up, and cut off"),
    ],
)
def test_refused(data: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="Invalid JSON format"):
        decode(data)


@pytest.mark.parametrize("inside", ["", "1"])
def test_32_levels_are_taken(inside: str) -> None:
    decode(nested(MAX_DEPTH, inside))


def test_many_shallow_lists_are_no_depth() -> None:
    assert decode("[" + ",".join(["[]"] * 1000) + "]") == [[]] * 1000


def test_brackets_in_a_string_are_no_depth() -> None:
    assert decode(json.dumps("[" * 1000)) == "[" * 1000


@given(st.lists(st.text('\\",[{a', max_size=20), min_size=1))
def test_values_are_counted_outside_of_strings(strings: list[str]) -> None:
    said = strings * (MAX_VALUES // len(strings) // 2)
    assert decode(json.dumps(said)) == said
    with pytest.raises(ProtocolError):
        decode(json.dumps([*said, *"x" * (MAX_VALUES + 1 - len(said))]))


def test_as_many_values_as_may_be_are_taken() -> None:
    assert len(decode(json.dumps(list(range(MAX_VALUES - 1))))) == MAX_VALUES - 1
    assert len(decode(json.dumps({str(key): "," for key in range(MAX_VALUES - 1)}))) == MAX_VALUES - 1


def test_a_text_of_brackets_and_commas_is_no_crowd() -> None:
    assert decode(json.dumps('[{"a\\\\",' * 100_000)) == '[{"a\\\\",' * 100_000


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert decode('"\\ud83d\\ude00"') == "😀"


def test_equal_keys_of_different_objects_are_taken() -> None:
    assert decode('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]
