"""Every sentence of our pages is there in Chinese too, and what is served is what was written."""

import re

from tests.support import messages


def test_every_sentence_is_translated() -> None:
    assert "Talk to a human" in messages.used(), "sentences in Python are found"
    assert "There is nothing here" in messages.used(), "sentences in templates are found"
    assert messages.missing() == []


def test_what_is_translated_is_used() -> None:
    assert {str(message.id) for message in messages.translations() if message.id} - messages.used() == set()


def test_what_is_served_is_what_was_written() -> None:
    written = {str(message.id): str(message.string) for message in messages.translations() if message.id}
    assert messages.compiled() == written, "run make messages"


def test_a_translation_fills_in_the_same() -> None:
    for sentence, translated in messages.compiled().items():
        assert set(re.findall(r"{\w+}", sentence)) == set(re.findall(r"{\w+}", translated)), sentence
