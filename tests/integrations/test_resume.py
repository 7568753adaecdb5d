"""Resume tokens: one session's, of one pipeline, by our key or an earlier one."""

from uuid import UUID, uuid4

import pytest
from django.core import signing
from pytest_django import Settings

from conversations.types import SessionKey, room_key
from integrations import resume

PIPELINE, UUID_ = uuid4(), uuid4()
SESSION = SessionKey(UUID_, PIPELINE, "person")
ROOM = room_key(PIPELINE, "lobby")


def test_a_session_is_entered_again_with_its_token() -> None:
    assert resume.is_valid(resume.issue(SESSION), SESSION)


@pytest.mark.parametrize(
    ("issued", "entered"),
    [
        pytest.param(SESSION, SessionKey(uuid4(), PIPELINE, "person"), id="another session"),
        pytest.param(SESSION, SessionKey(UUID_, uuid4(), "person"), id="another pipeline"),
        pytest.param(SESSION, SessionKey(PIPELINE, UUID_, "person"), id="the two exchanged"),
        pytest.param(ROOM, SessionKey(ROOM.uuid, PIPELINE, "person"), id="a room as a person's session"),
    ],
)
def test_a_token_opens_nothing_else(issued: SessionKey, entered: SessionKey) -> None:
    assert not resume.is_valid(resume.issue(issued), entered)


@pytest.mark.parametrize("token", ["", "0" * 64, "密码", "x" * 10_000])
def test_what_is_no_token_opens_nothing(token: str) -> None:
    assert not resume.is_valid(token, SESSION)


def test_tokens_of_an_earlier_key_stay_good_until_it_is_forgotten(settings: Settings) -> None:
    settings.SECRET_KEY = "the earlier one"
    token = resume.issue(SESSION)
    settings.SECRET_KEY = "the present one"
    settings.SECRET_KEY_FALLBACKS = ["the earlier one"]
    assert resume.is_valid(token, SESSION)
    settings.SECRET_KEY_FALLBACKS = []
    assert not resume.is_valid(token, SESSION)


# --- Tokens that name their session ------------------------------------------------------------


def test_a_token_that_names_its_session_is_enough() -> None:
    named = resume.open_named(resume.issue_named(SESSION, "wechat", "holder"), "wechat")
    assert named is not None
    assert (named.session, named.holder) == (SESSION, "holder")


@pytest.mark.parametrize(("token", "named"), [("", False), ("<token>", False), ("WyI", True), ("a:b:c", True)])
def test_its_shape_is_told_from_others(token: str, named: bool) -> None:
    assert resume.looks_named(token) is named
    assert not resume.looks_named(resume.issue(SESSION))


@pytest.mark.parametrize("digit", "0123456789abcdef")
def test_the_beginning_of_a_token_is_enough_to_tell(digit: str) -> None:
    session = SessionKey(UUID(digit * 32), SESSION.pipeline, "person")
    assert resume.looks_named(resume.issue_named(session, "wechat", "holder")[:5])


def test_it_opens_nothing_on_another_wire() -> None:
    assert resume.open_named(resume.issue_named(SESSION, "wechat"), "contact") is None


@pytest.mark.parametrize("change", ["x{}", "{}x", ":{}", "{}:", "密码{}"])
def test_a_changed_token_opens_nothing(change: str) -> None:
    assert resume.open_named(change.format(resume.issue_named(SESSION, "wechat")), "wechat") is None


@pytest.mark.parametrize("token", ["", ":", "::", "a:b:c", "x" * 10_000])
def test_what_is_no_token_names_nothing(token: str) -> None:
    assert resume.open_named(token, "wechat") is None


def test_a_token_of_another_shape_names_nothing() -> None:
    assert resume.open_named(signing.dumps([1], salt="chatgateway.resume.named.wechat"), "wechat") is None


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    token = resume.issue_named(SESSION, "wechat")
    monkeypatch.setattr(resume, "NAMED_FOR", -1)
    assert resume.open_named(token, "wechat") is None
