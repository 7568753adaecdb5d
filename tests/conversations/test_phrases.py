"""The gateway's own sentences, in the visitor's language."""

import pytest

from conversations import phrases


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is it?", "en"),
        ("这是什么", "zh-hans"),
        ("What does 会话 mean?", "zh-hans"),
        ("㐀", "zh-hans"),
        ("123 ?!", "zh-hans"),
        ("", "zh-hans"),
        ("é", "zh-hans"),
        ("z", "en"),
    ],
)
def test_the_language_of_a_text_is_told_by_its_letters(text: str, language: str) -> None:
    assert phrases.language_of(text) == language


@pytest.mark.parametrize(
    "sentences",
    [
        phrases.FAILURE, phrases.BUSY, phrases.BROKEN_OFF, phrases.CUT, phrases.FALLBACK, phrases.CALLED,
        phrases.NOBODY_TO_CALL,
    ],
)  # fmt: skip
def test_every_sentence_is_there_in_its_own_language(sentences: dict[str, str]) -> None:
    assert {language: phrases.language_of(text) for language, text in sentences.items()} == {
        "zh-hans": "zh-hans",
        "en": "en",
    }


def test_an_answer_that_only_says_that_a_person_was_told_is_told_apart() -> None:
    for language, said in phrases.CALLED.items():
        assert phrases.is_called(said)
        assert phrases.is_called(phrases.FALLBACK[language] + said)
        assert not phrases.is_called(f"{said} See the guide.")
        assert not phrases.is_called(phrases.NOBODY_TO_CALL[language])
