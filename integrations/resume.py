"""Resume tokens: who holds one may re-enter that session. Signed, so a silent session leaves nothing behind."""

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from conversations.types import SessionKey

_SALT = "chatgateway.resume"


def issue(session: SessionKey) -> str:
    """Return the token of a session."""
    return _sign(session, settings.SECRET_KEY)


def is_valid(token: str, session: SessionKey) -> bool:
    """Tell whether `token` is that of the session, under the present key or an earlier one."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(token, _sign(session, key)) for key in keys)


def _sign(session: SessionKey, key: str | bytes) -> str:
    # With its type: a room's UUID can be computed by anybody, and must not open as a person's session.
    text = f"{session.pipeline}/{session.session_type}/{session.uuid}"
    return salted_hmac(_SALT, text, secret=key, algorithm="sha256").hexdigest()
