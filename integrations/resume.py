"""Resume tokens: who holds one may re-enter that session. Signed, so a silent session leaves nothing behind."""

from uuid import UUID

import msgspec
from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from conversations.types import SessionKey

_SALT = "chatgateway.resume"
_NAMED_SALT = "chatgateway.resume.named"
NAMED_FOR = 30 * 24 * 3600  # seconds that a token which names its session is good for
LONGEST_NAMED = 1024


class Named(msgspec.Struct, frozen=True, array_like=True):
    """The person session that a token names, and its `holder` as the wire knows him."""

    uuid: UUID
    pipeline: UUID
    holder: str = ""

    @property
    def session(self) -> SessionKey:
        return SessionKey(self.uuid, self.pipeline, "person")


def issue(session: SessionKey) -> str:
    """Return the token of a session."""
    return _sign(session, settings.SECRET_KEY)


def is_valid(token: str, session: SessionKey) -> bool:
    """Tell whether `token` is that of the session, under the present key or an earlier one."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(token, _sign(session, key)) for key in keys)


def issue_named(session: SessionKey, wire: str, holder: str = "") -> str:
    """Return a token that alone is enough to re-enter a person's session on `wire`, and proves who its holder is."""
    value = msgspec.to_builtins(Named(session.uuid, session.pipeline, holder))
    return signing.dumps(value, salt=f"{_NAMED_SALT}.{wire}")


def open_named(token: str, wire: str) -> Named | None:
    """Return what a token of `wire` names, or None where it is forged, too old or none."""
    if len(token) > LONGEST_NAMED or not token.isascii():
        return None
    try:
        return msgspec.convert(signing.loads(token, salt=f"{_NAMED_SALT}.{wire}", max_age=NAMED_FOR), Named)
    except (signing.BadSignature, msgspec.ValidationError):
        return None


def looks_named(token: str) -> bool:
    """Tell whether a token has the shape of those that name their session, good or not; no other bearer has it."""
    # Three parts with colons between, of which the first is a JSON list that begins with a UUID's text.
    return ":" in token or token.startswith(("WyI", "WyJ"))  # a digit, a letter


def _sign(session: SessionKey, key: str | bytes) -> str:
    # With its type: a room's UUID can be computed by anybody, and must not open as a person's session.
    text = f"{session.pipeline}/{session.session_type}/{session.uuid}"
    return salted_hmac(_SALT, text, secret=key, algorithm="sha256").hexdigest()
