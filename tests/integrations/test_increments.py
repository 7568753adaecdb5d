"""What is new of a text that grows."""

import pytest

from integrations.increments import added


@pytest.mark.parametrize(
    ("told", "text", "new"),
    [
        ("", "", ""),
        ("", "One", "One"),
        ("One", "One two", " two"),
        ("One two", "One two", ""),
        ("One two", "One", ""),
        ("One two", "Other words, and more of them", ""),
    ],
)
def test_only_what_goes_on_from_there_is_new(told: str, text: str, new: str) -> None:
    assert added(told, text) == new
