"""Writes of who may be: applications and their tokens. Synchronous. Plain secrets leave here once and are not kept."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from uuid import UUID

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from connections import signals
from connections.auth import Scope, normal_origin
from connections.clients import away
from connections.events import EndConnections
from connections.models import AccessToken, Application, HubClient

TOKEN_BYTES = 32
DEFAULT_SCOPES = frozenset({Scope.READ, Scope.WRITE})
EXCHANGED = "token service"  # the label of tokens that an application fetched with its secret
EXCHANGED_FOR = timedelta(days=30)
CLOSED_AT_ONCE = 200  # connections of one request to the processes
EXCHANGED_TOKENS = 100  # of one application that are good at once; with one more the oldest is revoked


def create_application(
    name: str,
    *,
    pipeline: UUID | None = None,
    origins: Iterable[str] = (),
    callback_url: str = "",
    client_prefixes: Iterable[str] = (),
    enabled: bool = True,
) -> tuple[Application, str]:
    """Return a new application and its plain secret; ValueError or ValidationError for what it cannot have."""
    application = Application(name=name, pipeline=pipeline, callback_url=callback_url, enabled=enabled)
    application.origins = normal_origins(origins)
    application.client_prefixes = sorted(set(client_prefixes))
    application.clean_fields(exclude={"appid", "secret_hash"})
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


def exchange_secret(appid: str, secret: str) -> tuple[AccessToken, str] | None:
    """Return a new token and its plain form for an application's secret; None where the pair is wrong.

    An appid that nobody has costs as much as a wrong secret.
    """
    unknown = _dummy_hash()
    application = Application.objects.filter(appid=appid).first()
    known = application is not None and application.enabled
    right = check_password(secret, application.secret_hash if application is not None else unknown)
    if application is None or not known or not right:
        return None
    with transaction.atomic():
        token, plain = issue_token(application, label=EXCHANGED, ttl=EXCHANGED_FOR)
        good = application.tokens.filter(label=EXCHANGED, revoked_at=None, expires_at__gt=timezone.now())
        revoke_tokens(good.order_by("-created_at", "-id").values_list("id", flat=True)[EXCHANGED_TOKENS:])
    return token, plain


@cache
def _dummy_hash() -> str:
    """Return the hash of a secret that nobody knows, made as an application's is."""
    return make_password(secrets.token_urlsafe(TOKEN_BYTES))


def revoke_token(token: AccessToken) -> None:
    """Make a token worthless from now on; the first revocation's time stays."""
    revoke_tokens([token.pk])
    token.refresh_from_db(fields=["revoked_at"])


def revoke_tokens(ids: Iterable[int]) -> int:
    """Revoke the tokens of those ids that are not yet; return how many."""
    return AccessToken.objects.filter(pk__in=list(ids), revoked_at=None).update(revoked_at=timezone.now())


def close_connections(connections: Iterable[UUID], code: int, reason: str) -> None:
    """Have connections closed with `code` and `reason`, in whichever process; their rows tell when it is done."""
    wanted = tuple(connections)
    for start in range(0, len(wanted), CLOSED_AT_ONCE):
        signals.asked.send(sender=None, event=EndConnections(wanted[start : start + CLOSED_AT_ONCE], code, reason))


@transaction.atomic
def give_names_free(clients: Iterable[int]) -> int:
    """Let the next application that connects under a hub client's name have it, mailbox and all; return how many."""
    return _locked(clients).exclude(application=None).update(application=None)


@transaction.atomic
def forget_clients(clients: Iterable[int]) -> int:
    """Forget those hub clients that are away, and their letters; return how many."""
    _, forgotten = _locked(clients).filter(away()).delete()
    return forgotten.get(HubClient._meta.label, 0)


def _locked(clients: Iterable[int]) -> QuerySet[HubClient]:
    """Return hub clients, locked in the order in which the writer locks them."""
    rows = HubClient.objects.filter(pk__in=list(clients))
    return rows.filter(pk__in=list(rows.select_for_update().order_by("pk").values_list("pk", flat=True)))


def normal_origins(origins: Iterable[str]) -> list[str]:
    """Return browser origins in their one exact form, sorted; ValueError names the first that is none."""
    normal = set()
    for origin in origins:
        found = normal_origin(origin)
        if found is None:
            raise ValueError(f"{origin} is not an origin such as https://example.com or http://localhost:3000.")
        normal.add(found)
    return sorted(normal)
