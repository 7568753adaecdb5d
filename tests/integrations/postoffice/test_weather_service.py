"""What the example says; that it says so over a socket is tested with a process of it."""

import json

import pytest

from integrations.postoffice.examples.weather_service import parts_of_answer, read

QUESTION = {"from": "AI_CHATBOT/1", "type": "msg", "content": "北京天气"}


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("北京天气怎么样？", "北京"),
        ("请问今天上海的天气", "上海"),
        ("明天 New York 的天气", "New York"),
        ("天气", "本地"),
        ("今天天气怎么样", "本地"),
    ],
)
def test_the_place_is_what_stands_before_the_weather(question: str, place: str) -> None:
    assert list(parts_of_answer(question)) == [f"{place}的天气：", "晴天，温度25°C。"]


def test_another_question_is_answered_too() -> None:
    assert list(parts_of_answer("你好")) == ["我只知道天气，例如：北京天气。"]


def test_a_question_is_read() -> None:
    assert read(json.dumps(QUESTION)) == QUESTION


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", b"\xff", "7",
        json.dumps({**QUESTION, "type": "receipt"}),
        json.dumps({**QUESTION, "content": {"a": 1}}),
        json.dumps({"type": "msg", "content": "北京天气"}),
    ],
)  # fmt: skip
def test_what_is_no_question_is_passed_by(text: str | bytes) -> None:
    assert read(text) is None
