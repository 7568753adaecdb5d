"""Which questions a route is for."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conversations.matching import LOOKS_AT, REGEX_LOOKS_AT, PatternError, matches, problem_with, words
from conversations.responders.base import RouteConfig

KINDS = ("always", "contains", "prefix", "regex")


def is_for(match: str, pattern: str, question: str) -> bool:
    return matches(RouteConfig("service", match, pattern), question)


@pytest.mark.parametrize("pattern", ["", "天气", "("])
def test_every_question_is_every_question(pattern: str) -> None:
    assert is_for("always", pattern, "")
    assert is_for("always", pattern, "What is it?")


@pytest.mark.parametrize(
    ("pattern", "question", "expected"),
    [
        ("天气", "北京天气怎么样", True),
        ("天气", "北京的天很气人", False),
        ("天气,weather", "What's the Weather like?", True),
        ("天气，温度、 Rain ", "will it RAIN", True),
        ("天气，温度", "现在的温度", True),
        ("ｗｅａｔｈｅｒ", "weather?", True),
        ("weather", "ＷＥＡＴＨＥＲ？", True),
        ("straße", "STRASSE", True),
        ("very cold", "is it very cold?", True),
        ("very cold", "cold, very?", False),
        ("", "anything", False),
        (" ，,、 ", "a, b、c", False),
        ("天气", "", False),
    ],
)
def test_one_of_the_words_is_enough(pattern: str, question: str, expected: bool) -> None:
    assert is_for("contains", pattern, question) is expected


def test_words_are_separated_by_commas_of_either_width() -> None:
    assert words("天气，Weather, 气温、very cold,,") == ["天气", "weather", "气温", "very cold"]


@pytest.mark.parametrize(
    ("pattern", "question", "expected"),
    [
        ("天气", "天气怎么样", True),
        ("天气", " \n天气怎么样", True),
        ("天气", "北京天气", False),
        ("/Weather ", "/weather 北京", True),
        ("天气,weather", "weather", False),
        ("", "anything", False),
        (" ", " anything", False),
    ],
)
def test_a_beginning(pattern: str, question: str, expected: bool) -> None:
    assert is_for("prefix", pattern, question) is expected


@pytest.mark.parametrize(
    ("pattern", "question", "expected"),
    [
        (r"^(北京|上海).*天气", "上海明天的天气", True),
        (r"^(北京|上海).*天气", "去上海看天气", False),
        (r"WEATHER in \w+", "weather in Berlin", True),
        (r"\d{4}", "订单１２３４", True),
        ("天气？", "北京天", False),  # a full-width question mark is no operator
        ("天气？", "天气?", True),
        ("（北京）", "(北京)", True),
        ("[？！]$", "真的!", True),
        (r"\？", "吗？", True),
        (r"\\？", "\\?", True),
        ("[一-龥]{4}", "天气好吗", True),
        (r"\p{Han}", "abc", False),
    ],
)
def test_a_regular_expression(pattern: str, question: str, expected: bool) -> None:
    assert is_for("regex", pattern, question) is expected


@pytest.mark.parametrize(
    "pattern",
    ["a{10001}", "a{,10001}", "(?:a{9999}){9999}", "(((a{99}){99}){99}){99}", "a{2}{9999}", "a{99999999999999999}"],
)
def test_a_pattern_that_would_take_the_machines_memory_is_not_compiled(pattern: str) -> None:
    assert problem_with(pattern).startswith("repeats too much: ")


@pytest.mark.parametrize("pattern", [r"\d{4}-\d{2}-\d{2}", r"1[3-9]\d{9}", "(a{2,3}){1,}", "a{", ".{0,200}foo.{0,200}"])
def test_a_pattern_that_counts_a_little_is_taken(pattern: str) -> None:
    assert problem_with(pattern) == ""


@pytest.mark.parametrize("pattern", ["(", "[", "*", r"\p{Nope}", "(?P<n>"])
def test_what_is_no_regular_expression_says_so(pattern: str) -> None:
    assert problem_with(pattern).startswith("is no regular expression: ")
    with pytest.raises(PatternError, match="is no regular expression"):
        is_for("regex", pattern, "x")


def test_a_good_regular_expression_has_no_problem() -> None:
    assert problem_with("^(天气|weather)") == ""


def test_a_regular_expression_that_never_ends_is_stopped() -> None:
    began = time.monotonic()
    with pytest.raises(PatternError, match="took longer"):
        is_for("regex", "(a+)+b", "a" * REGEX_LOOKS_AT)
    assert time.monotonic() - began < 5


def test_a_very_long_question_is_looked_at_from_its_beginning() -> None:
    assert not is_for("regex", "天气", "x" * REGEX_LOOKS_AT + "天气")
    assert not is_for("contains", "天气", "x" * LOOKS_AT + "天气")
    assert is_for("contains", "天气", "天气" + "x" * 10 * LOOKS_AT)


@given(st.sampled_from(KINDS), st.text(max_size=50), st.text(max_size=200))
@example("regex", "(a+)+b", "a" * 100)
def test_no_pattern_and_no_question_breaks_anything(match: str, pattern: str, question: str) -> None:
    try:
        assert is_for(match, pattern, question) in {True, False}
    except PatternError:
        assert match == "regex"
