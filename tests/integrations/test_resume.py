"""Resume tokens: one session's, of one pipeline, by our key or an earlier one."""

from uuid import UUID, uuid4

import pytest
from pytest_django import Settings

from integrations import resume

PIPELINE, SESSION = uuid4(), uuid4()


def test_a_session_is_entered_again_with_its_token() -> None:
    assert resume.is_valid(resume.issue(PIPELINE, SESSION), PIPELINE, SESSION)


@pytest.mark.parametrize(
    ("pipeline", "session"),
    [(PIPELINE, uuid4()), (uuid4(), SESSION), (SESSION, PIPELINE)],
    ids=["another session", "another pipeline", "the two exchanged"],
)
def test_a_token_opens_nothing_else(pipeline: UUID, session: UUID) -> None:
    assert not resume.is_valid(resume.issue(PIPELINE, SESSION), pipeline, session)


@pytest.mark.parametrize("token", ["", "0" * 64, "密码", "x" * 10_000])
def test_what_is_no_token_opens_nothing(token: str) -> None:
    assert not resume.is_valid(token, PIPELINE, SESSION)


def test_tokens_of_an_earlier_key_stay_good_until_it_is_forgotten(settings: Settings) -> None:
    settings.SECRET_KEY = "the earlier one"
    token = resume.issue(PIPELINE, SESSION)
    settings.SECRET_KEY = "the present one"
    settings.SECRET_KEY_FALLBACKS = ["the earlier one"]
    assert resume.is_valid(token, PIPELINE, SESSION)
    settings.SECRET_KEY_FALLBACKS = []
    assert not resume.is_valid(token, PIPELINE, SESSION)
