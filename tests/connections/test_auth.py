"""Who a token stands for, and which pages may come."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import pytest

from connections import services
from connections.audit import COMMAND_LINE
from connections.auth import LONGEST_TTL, Authenticator, Principal, Scope, may, may_be, normal_origin, origin_allowed
from connections.models import AccessToken, Application

P = ParamSpec("P")
R = TypeVar("R")

pytestmark = pytest.mark.django_db


class CountingRead:
    """Runs the query here, in the test's transaction, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self.calls += 1
        return function(*args, **kwargs)


def identify(authenticator: Authenticator, token: str | None) -> Principal | None:
    """Run the coroutine without a loop: with CountingRead it never waits, and Django's tests have one thread."""
    coroutine = authenticator.identify(token)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    found: Principal | None = stopped.value.value
    return found


@pytest.fixture
def read() -> CountingRead:
    return CountingRead()


@pytest.fixture
def application() -> Application:
    return services.create_application("shop", pipeline=uuid4(), origins=["https://shop.example.com"])[0]


def test_open_mode_is_everybody_whatever_the_token(read: CountingRead) -> None:
    authenticator = Authenticator("open", read)
    for token in (None, "", "placeholder", "x" * 10_000):
        principal = identify(authenticator, token)
        assert principal is not None
        assert principal.kind == "open"
        assert all(may(principal, scope) for scope in Scope)
    assert read.calls == 0


def test_token_mode_knows_an_application_by_its_token(read: CountingRead, application: Application) -> None:
    _, plain = services.issue_token(application, [Scope.READ])
    principal = identify(Authenticator("token", read), plain)
    assert principal is not None
    assert principal.kind == "application"
    assert (principal.application, principal.pipeline) == (application.uuid, application.pipeline)
    assert principal.scopes == {Scope.READ}
    assert principal.origins == {"https://shop.example.com"}
    assert may(principal, Scope.READ)
    assert not may(principal, Scope.WRITE)


@pytest.mark.parametrize("token", [None, "", "unknown", "x" * 10_000, "密钥", "\udc80"])
def test_token_mode_refuses_what_is_no_token(token: str | None, read: CountingRead) -> None:
    assert identify(Authenticator("token", read), token) is None


def test_a_token_that_ended_is_worth_nothing(read: CountingRead, application: Application) -> None:
    revoked, plain_revoked = services.issue_token(application)
    services.revoke_token(revoked, by=COMMAND_LINE)
    _, plain_expired = services.issue_token(application, ttl=timedelta(seconds=-1))
    authenticator = Authenticator("token", read)
    assert identify(authenticator, plain_revoked) is None
    assert identify(authenticator, plain_expired) is None


def test_a_disabled_application_has_no_tokens(read: CountingRead, application: Application) -> None:
    _, plain = services.issue_token(application)
    Application.objects.update(enabled=False)
    assert identify(Authenticator("token", read), plain) is None


def test_scopes_that_this_release_does_not_know_are_left_out(read: CountingRead, application: Application) -> None:
    token, plain = services.issue_token(application, [Scope.WRITE])
    AccessToken.objects.filter(pk=token.pk).update(scopes=["write", "fly"])
    principal = identify(Authenticator("token", read), plain)
    assert principal is not None
    assert principal.scopes == {Scope.WRITE}


def test_answers_are_believed_for_a_while_and_then_asked_again(read: CountingRead, application: Application) -> None:
    now = 100.0
    token, plain = services.issue_token(application)
    authenticator = Authenticator("token", read, ttl=3600, clock=lambda: now)
    for _ in range(3):
        assert identify(authenticator, plain) is not None
        assert identify(authenticator, "unknown") is None
    assert read.calls == 2
    services.revoke_token(token, by=COMMAND_LINE)
    now += LONGEST_TTL  # whatever was asked for, a revocation holds by now
    assert identify(authenticator, plain) is None
    assert read.calls == 3


def test_a_cached_token_ends_with_its_own_expiry(read: CountingRead, application: Application) -> None:
    now = 100.0
    token, plain = services.issue_token(application, ttl=timedelta(seconds=2))
    authenticator = Authenticator("token", read, clock=lambda: now)
    assert identify(authenticator, plain) is not None
    assert token.expires_at is not None
    AccessToken.objects.update(expires_at=token.expires_at - timedelta(seconds=2))
    now += 2
    assert identify(authenticator, plain) is None


def test_guesses_do_not_push_a_good_token_out(read: CountingRead, application: Application) -> None:
    _, plain = services.issue_token(application)
    authenticator = Authenticator("token", read, entries=3)
    identify(authenticator, plain)
    for guess in range(10):
        identify(authenticator, f"guess {guess}")
    calls = read.calls
    assert identify(authenticator, plain) is not None
    assert read.calls == calls
    assert len(authenticator._bad) == 3


@pytest.mark.parametrize("prefixes", [(), ("",)])
def test_an_empty_prefix_is_none(prefixes: tuple[str, ...]) -> None:
    assert may_be(Principal(kind="application", scopes=frozenset(), client_prefixes=prefixes), "/service/a")
    shop = Principal(kind="application", scopes=frozenset(), client_prefixes=(*prefixes, "/shop/"))
    assert may_be(shop, "/shop/1")
    assert not may_be(shop, "/service/a")


def test_admin_may_everything() -> None:
    principal = Principal(kind="application", scopes=frozenset({Scope.ADMIN}))
    assert all(may(principal, scope) for scope in Scope)


# --- Origins -----------------------------------------------------------------------------------

REACHED: dict[str, Any] = {"host": "chat.example.com", "scheme": "wss", "mode": "token"}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("null", False),
        ("", False),
        ("https://chat.example.com", True),
        ("https://CHAT.example.com:443", True),
        ("http://chat.example.com", False),
        ("https://chat.example.com:8443", False),
        ("https://chat.example.com.evil.test", False),
        ("https://shop.example.com", True),
        ("https://shop.example.com:443", True),
        ("https://shop.example.com:444", False),
        ("https://user@chat.example.com", False),
        ("https://chat.example.com/path", False),
        ("file://", False),
        ("http://localhost:3000", False),
        ("https://chat.example.com:99999", False),
        ("http://[::1", False),
    ],
)
def test_origins_in_token_mode(origin: str | None, *, allowed: bool) -> None:
    found = origin_allowed(origin, **REACHED, allowed=frozenset({"https://Shop.example.com/"}))
    assert found is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:8080", True),
        ("https://[::1]:8443", True),
        ("http://localhost.evil.test", False),
        ("https://evil.test", False),
        ("null", False),
    ],
)
def test_open_mode_takes_loopback_pages_too(origin: str, *, allowed: bool) -> None:
    found = origin_allowed(origin, host="127.0.0.1:8000", scheme="ws", mode="open", allowed=frozenset())
    assert found is allowed


def test_our_own_page_by_an_ipv6_address() -> None:
    assert origin_allowed("http://[2001:db8::1]:8000", host="[2001:db8::1]:8000", scheme="http", mode="token",
                          allowed=frozenset())  # fmt: skip


def test_the_exact_form_of_an_origin() -> None:
    assert normal_origin("HTTP://Example.com:80/") == "http://example.com"
    assert normal_origin("https://[::1]:8443") == "https://[::1]:8443"
    assert normal_origin("ftp://example.com") is None
    assert normal_origin("https://example.com?x=1") is None
