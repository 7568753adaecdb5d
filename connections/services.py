"""Writes of who may be: applications and their tokens. Synchronous. Plain secrets leave here once and are not kept."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.utils import timezone

from connections.auth import Scope, normal_origin
from connections.models import AccessToken, Application

TOKEN_BYTES = 32
DEFAULT_SCOPES = frozenset({Scope.READ, Scope.WRITE})


def create_application(
    name: str, *, pipeline: UUID | None = None, origins: Iterable[str] = (), enabled: bool = True
) -> tuple[Application, str]:
    """Return a new application and its plain secret; ValueError for an origin that is none."""
    application = Application(name=name, pipeline=pipeline, enabled=enabled)
    application.origins = normal_origins(origins)
    return application, register(application)


def register(application: Application) -> str:
    """Save a new application under a random appid; return its plain secret, of which only a hash is kept."""
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    application.appid = f"app_{secrets.token_hex(12)}"
    application.secret_hash = make_password(secret)
    application.save(force_insert=True)
    return secret


def issue_token(
    application: Application,
    scopes: Iterable[Scope] = DEFAULT_SCOPES,
    *,
    label: str = "",
    ttl: timedelta | None = None,
) -> tuple[AccessToken, str]:
    """Return a new token and its plain form: 256 random bits, URL-safe. Without `ttl` it does not expire."""
    plain = secrets.token_urlsafe(TOKEN_BYTES)
    token = AccessToken.objects.create(
        application=application,
        label=label,
        digest=hashlib.sha256(plain.encode()).hexdigest(),
        scopes=sorted(Scope(scope).value for scope in scopes),
        expires_at=None if ttl is None else timezone.now() + ttl,
    )
    return token, plain


def revoke_token(token: AccessToken) -> None:
    """Make a token worthless from now on; the first revocation's time stays."""
    revoke_tokens([token.pk])
    token.refresh_from_db(fields=["revoked_at"])


def revoke_tokens(ids: Iterable[int]) -> int:
    """Revoke the tokens of those ids that are not yet; return how many."""
    return AccessToken.objects.filter(pk__in=list(ids), revoked_at=None).update(revoked_at=timezone.now())


def normal_origins(origins: Iterable[str]) -> list[str]:
    """Return browser origins in their one exact form, sorted; ValueError names the first that is none."""
    normal = set()
    for origin in origins:
        found = normal_origin(origin)
        if found is None:
            raise ValueError(f"{origin} is not an origin such as https://example.com or http://localhost:3000.")
        normal.add(found)
    return sorted(normal)
