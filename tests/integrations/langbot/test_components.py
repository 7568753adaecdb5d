"""What the components of a message mean."""

from typing import Any

import pytest

from integrations.langbot.components import (
    At,
    AtAll,
    File,
    Image,
    Other,
    Plain,
    Quote,
    Voice,
    mentions_bot,
    prompt_of,
    text_of,
)


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (Plain("hi"), "hi"),
        (At("u1", "Li"), "@Li"),
        (At("u1"), "@u1"),
        (At(7), "@7"),
        (AtAll(), "@All"),
        (Image(), "[Image]"),
        (Voice(), "[Voice]"),
        (File(), "[File]"),
        (Quote([{"type": "Plain", "text": "a"}, {"type": "At", "target": "b"}]), "> a@b\n"),
        (Quote([{"type": "Plain"}, 5, {"type": "Plain", "text": "rest"}]), "> rest\n"),
        (Quote([{"type": "Quote", "origin": [{"type": "Plain", "text": "in"}]}]), "> > in\n\n"),
        (Other(), ""),
    ],
)
def test_a_component_as_text(component: Any, words: str) -> None:
    assert text_of([component]) == words


def test_the_bot_is_mentioned_by_its_name_only() -> None:
    assert mentions_bot([Plain("x"), At("websocketbot")])
    assert not mentions_bot([At("somebody", "websocketbot"), AtAll(), Plain("websocketbot")])


def test_what_is_asked_leaves_the_mention_of_the_bot_out() -> None:
    assert prompt_of([At("websocketbot"), Plain(" 今天几号？ ")]) == "今天几号？"
    assert prompt_of([At("u1", "Li"), Plain(" said so")]) == "@Li said so"
