"""Who may have staff's socket."""

from importlib import import_module
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from chatgateway.live.access import (
    TO_WATCH,
    Staff,
    is_page_token,
    own_page,
    page_token,
    session_key,
    staff_of,
)
from chatgateway.roles import AT_THE_DESK
from integrations.parts import WireOptions
from integrations.peers import Peer

EVERYTHING = AT_THE_DESK.union(TO_WATCH.values())


def request_of(user: User) -> HttpRequest:
    """Return a request of somebody who has just logged in."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return request


def key_of(user: User) -> str:
    key = request_of(user).session.session_key
    assert key
    return key


@pytest.fixture
def viewer(db: None) -> User:
    """Somebody of staff with one permission."""
    viewer = User.objects.create_user("viewer", password="one", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_connection"))
    return viewer


# --- Sessions ----------------------------------------------------------------------------------


def test_a_session_tells_what_its_user_may(viewer: User) -> None:
    assert staff_of(key_of(viewer)) == Staff(True, frozenset({"connections.view_connection"}))


@pytest.mark.django_db
def test_a_superuser_may_everything() -> None:
    assert staff_of(key_of(User.objects.create_superuser("root"))) == Staff(True, EVERYTHING)


@pytest.mark.django_db
def test_somebody_who_is_not_of_staff_is_known_as_such() -> None:
    assert staff_of(key_of(User.objects.create_user("visitor"))) == Staff(False, frozenset())


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "short", "x" * 32, "'; --" * 8])
def test_a_key_that_nobody_has_is_nobody_s(key: str) -> None:
    assert staff_of(key) is None


def test_a_session_ends_with_its_logout_password_or_user(viewer: User) -> None:
    left = request_of(viewer)
    left.session.flush()
    assert staff_of(left.session.session_key or "") is None

    key = key_of(viewer)
    viewer.set_password("two")
    viewer.save()
    assert staff_of(key) is None
    assert SessionStore().exists(key), "it was only read"

    key = key_of(viewer)
    viewer.is_active = False
    viewer.save()
    assert staff_of(key) is None


def test_a_session_that_is_over_is_nobody_s(viewer: User) -> None:
    request = request_of(viewer)
    request.session.set_expiry(-1)
    request.session.save()
    assert staff_of(request.session.session_key or "") is None


# --- Tokens of pages ---------------------------------------------------------------------------


def test_a_page_s_token_is_good_for_its_session_alone(viewer: User) -> None:
    request = request_of(viewer)
    key = request.session.session_key or ""
    token = page_token(request)
    assert is_page_token(token, key)
    assert token != page_token(request), "each page has its own"
    assert key not in token
    assert not is_page_token(token, key_of(viewer))
    for wrong in ("", ".", token[1:], token[:-1], token.replace(".", "")):
        assert not is_page_token(wrong, key)


def test_without_a_session_no_token_is_good() -> None:
    request = HttpRequest()
    request.session = SessionStore()
    assert not is_page_token(page_token(request), "")


# --- Handshakes --------------------------------------------------------------------------------


def peer(origin: str | None = None, host: str = "chat.example", scheme: str = "ws", cookie: str = "") -> Peer:
    headers: list[tuple[bytes, bytes]] = [(b"host", host.encode()), (b"cookie", cookie.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return Peer({"headers": headers, "scheme": scheme})


def test_the_session_is_that_of_the_admin_s_cookie() -> None:
    assert session_key(peer(cookie="csrftoken=c; sessionid=s3cret; theme=dark")) == "s3cret"
    assert not session_key(peer(cookie="csrftoken=c"))


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"origin": "http://chat.example"}, True),
        ({"origin": "https://chat.example", "scheme": "wss"}, True),
        ({"origin": "https://shop.example"}, False),
        ({"origin": None}, False),
        ({"origin": "null"}, False),
        ({"origin": "https://chat.example"}, False),
        ({"origin": "http://chat.example:8080"}, False),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "http://evil.example", "host": "evil.example"}, False),
    ],
)
def test_a_page_is_ours_by_its_exact_origin(given: dict[str, Any], allowed: bool) -> None:
    options = WireOptions(
        open_access=True,
        proxied_open_access=False,
        allowed_hosts=("chat.example",),
        allowed_origins=frozenset({"https://shop.example"}),  # whose visitors may ask
    )
    assert own_page(peer(**given), options) is allowed


def test_behind_a_proxy_with_tls_our_public_address_is_our_own(settings: Any) -> None:
    settings.PUBLIC_URL = "https://chat.example"
    options = WireOptions(open_access=False, proxied_open_access=False, allowed_hosts=("chat.example",))
    assert own_page(peer("https://chat.example"), options)
    assert not own_page(peer("https://other.example"), options)
