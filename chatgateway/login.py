"""The admin's login form, which slows guessing down (S12)."""

import hashlib
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.forms import AuthenticationForm

from integrations.peers import client_address

log = structlog.get_logger(__name__)

WINDOW = 15 * 60  # seconds that a failed attempt counts
# Of one name from one address: whoever guesses is stopped, and the owner elsewhere is not locked out.
ATTEMPTS = 5
# Of one address over all names.
ATTEMPTS_OF_ADDRESS = 50


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold ships no types
    """Refuses, for a while, an address that failed too often."""

    def clean(self) -> dict[str, Any]:
        """Check name and password, unless too many were wrong before."""
        address = _address(self.request) if self.request else ""
        name = str(self.cleaned_data.get("username", ""))
        counters = ((_key(address, name), ATTEMPTS), (_key(address), ATTEMPTS_OF_ADDRESS))
        if any(cache.get(key, 0) >= most for key, most in counters):
            log.warning("login.refused", address=address, reason="too many failed attempts")
            raise ValidationError("Too many failed attempts. Please try again in 15 minutes.", code="too_many")
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            for key, _ in counters:
                cache.add(key, 0, WINDOW)
                cache.incr(key)
            raise
        cache.delete(counters[0][0])
        return cleaned


def _address(request: HttpRequest) -> str:
    """Return the client's address, which behind our proxies is not the connection's."""
    forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return client_address(request.META.get("REMOTE_ADDR", ""), forwarded_for, settings.TRUSTED_PROXIES)


def _key(*parts: str) -> str:
    # Hashed: a cache key takes neither spaces nor great length, and a name stays out of a shared cache.
    return "login/" + hashlib.sha256("\0".join(parts).encode()).hexdigest()
