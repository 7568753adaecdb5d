"""Resume tokens: who holds one may re-enter that session. Signed, so a silent session leaves nothing behind."""

from uuid import UUID

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

_SALT = "chatgateway.resume"


def issue(pipeline: UUID, session: UUID) -> str:
    """Return the token of a session."""
    return _sign(pipeline, session, settings.SECRET_KEY)


def is_valid(token: str, pipeline: UUID, session: UUID) -> bool:
    """Tell whether `token` is that of the session, under the present key or an earlier one."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(token, _sign(pipeline, session, key)) for key in keys)


def _sign(pipeline: UUID, session: UUID, key: str | bytes) -> str:
    return salted_hmac(_SALT, f"{pipeline}/{session}", secret=key, algorithm="sha256").hexdigest()
