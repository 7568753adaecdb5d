"""Who may have staff's socket: a session of the admin, on a page that was made for that session."""

import secrets

import msgspec
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, parse_cookie
from django.utils.crypto import constant_time_compare, salted_hmac

from chatgateway.live.events import What
from chatgateway.roles import AT_THE_DESK
from connections.auth import origin_allowed
from integrations.admission import own_host
from integrations.parts import WireOptions
from integrations.peers import Peer

# What a page must be allowed to, to be told of it.
TO_WATCH: dict[What, str] = {
    "connections": "connections.view_connection",
    "conversations": "conversations.view_chatsession",
}
_ASKED = AT_THE_DESK.union(TO_WATCH.values())


class Staff(msgspec.Struct, frozen=True):
    """Whose session it is: whether he may see the admin at all, and those of his permissions that count here."""

    is_staff: bool
    permissions: frozenset[str]


def session_key(peer: Peer) -> str:
    """Return the key of the admin's session in a handshake's cookies, empty where there is none."""
    return parse_cookie(peer.headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME, "")


def staff_of(key: str) -> Staff | None:
    """Return whose session `key` is, as the database has him now; None where he is not logged in (any more).

    Django's own `get_user` does the same and, of a session that is not good any more, also deletes it: this reads only.
    """
    session = SessionStore(key)
    user = User.objects.filter(pk=session.get(SESSION_KEY, 0), is_active=True).first()
    # A changed password ends the sessions that were opened with the one before.
    if user is None or not constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()):
        return None
    return Staff(user.is_staff, frozenset(permission for permission in _ASKED if user.has_perm(permission)))


def own_page(peer: Peer, options: WireOptions) -> bool:
    """Tell whether a page of ours asks, by its exact origin.

    A missing one is none of ours, and ALLOWED_ORIGINS are the pages of visitors.
    """
    if peer.origin is None:
        return False
    host = own_host(options, peer)
    # Behind a proxy with TLS we are asked by another scheme than the page's, which PUBLIC_URL tells.
    allowed = frozenset({settings.PUBLIC_URL} if settings.PUBLIC_URL else ())
    return origin_allowed(peer.origin, host=host, scheme=peer.scheme, mode="token", allowed=allowed)


def page_token(request: HttpRequest) -> str:
    """Return a new token for a page that is made for the session of `request`; good as long as the session."""
    nonce = secrets.token_urlsafe(12)
    return f"{nonce}.{_signature(nonce, request.session.session_key or '')}"


def is_page_token(token: str, key: str) -> bool:
    """Tell whether a page with that token was made for the session `key`."""
    nonce, _, signature = token.partition(".")
    return bool(key) and constant_time_compare(signature, _signature(nonce, key))


def _signature(nonce: str, key: str) -> str:
    return salted_hmac("chatgateway.live", f"{nonce}.{key}", algorithm="sha256").hexdigest()
