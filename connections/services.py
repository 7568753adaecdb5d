"""Writes of who may be: applications and their tokens. Synchronous. Plain secrets leave here once and are not kept.

Each is recorded in the audit trail, in its own transaction, as done `by` somebody.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from datetime import timedelta
from functools import cache
from itertools import islice
from uuid import UUID

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from connections import signals
from connections.audit import COMMAND_LINE, GATEWAY, Action, Actor, name_of, record, record_each
from connections.auth import Scope, normal_origin
from connections.clients import away
from connections.events import EndConnections
from connections.models import AccessToken, Application, HubClient

TOKEN_BYTES = 32
DEFAULT_SCOPES = frozenset({Scope.READ, Scope.WRITE})
EXCHANGED = "token service"  # the label of tokens that an application fetched with its secret
EXCHANGED_FOR = timedelta(days=30)
CLOSED_AT_ONCE = 200  # connections of one request to the processes
NAMED = 10  # of the connections that are closed at once, in the audit trail
EXCHANGED_TOKENS = 100  # of one application that are good at once; with one more the oldest is revoked


def create_application(
    name: str,
    *,
    pipeline: UUID | None = None,
    origins: Iterable[str] = (),
    callback_url: str = "",
    client_prefixes: Iterable[str] = (),
    enabled: bool = True,
    by: Actor = COMMAND_LINE,
) -> tuple[Application, str]:
    """Return a new application and its plain secret; ValueError or ValidationError for what it cannot have."""
    application = Application(name=name, pipeline=pipeline, callback_url=callback_url, enabled=enabled)
    application.origins = normal_origins(origins)
    application.client_prefixes = sorted(set(client_prefixes))
    application.clean_fields(exclude={"appid", "secret_hash"})
    return application, register(application, by=by)


@transaction.atomic
def register(application: Application, *, by: Actor) -> str:
    """Save a new application under a random appid; return its plain secret, of which only a hash is kept."""
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    application.appid = f"app_{secrets.token_hex(12)}"
    application.secret_hash = make_password(secret)
    application.save(force_insert=True)
    record(Action.APPLICATION_CREATED, actor=by.name, user=by.user, subject=name_of(application))
    return secret


@transaction.atomic
def change_application(application: Application, fields: Collection[str], *, by: Actor) -> None:
    """Save an application of which `fields` were changed."""
    application.save()
    others = sorted(set(fields) - {"enabled"})
    if "enabled" in fields:
        action = Action.APPLICATION_ENABLED if application.enabled else Action.APPLICATION_DISABLED
        record(action, actor=by.name, user=by.user, subject=name_of(application))
    if others:
        subject, details = name_of(application), ", ".join(others)
        record(Action.APPLICATION_CHANGED, actor=by.name, user=by.user, subject=subject, details=details)


@transaction.atomic
def delete_applications(ids: Iterable[int], *, by: Actor) -> None:
    """Delete the applications of those ids, and their tokens."""
    found = Application.objects.filter(pk__in=list(ids))
    names = [name_of(application) for application in found.only("name", "appid")]
    found.delete()
    record_each(Action.APPLICATION_DELETED, names, actor=by.name, user=by.user)


@transaction.atomic
def issue_token(
    application: Application,
    scopes: Iterable[Scope] = DEFAULT_SCOPES,
    *,
    label: str = "",
    ttl: timedelta | None = None,
    by: Actor = COMMAND_LINE,
) -> tuple[AccessToken, str]:
    """Return a new token and its plain form: 256 random bits, URL-safe. Without `ttl` it does not expire."""
    token, plain = _new_token(application, scopes, label, ttl)
    record(Action.TOKEN_ISSUED, actor=by.name, user=by.user, subject=_title(token), details=", ".join(token.scopes))
    return token, plain


def _new_token(
    application: Application, scopes: Iterable[Scope], label: str, ttl: timedelta | None
) -> tuple[AccessToken, str]:
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
        token, plain = _new_token(application, DEFAULT_SCOPES, EXCHANGED, EXCHANGED_FOR)
        record(Action.TOKEN_EXCHANGED, actor=name_of(application), subject=_title(token))
        good = application.tokens.filter(label=EXCHANGED, revoked_at=None, expires_at__gt=timezone.now())
        revoke_tokens(good.order_by("-created_at", "-id").values_list("id", flat=True)[EXCHANGED_TOKENS:], by=GATEWAY)
    return token, plain


@cache
def _dummy_hash() -> str:
    """Return the hash of a secret that nobody knows, made as an application's is."""
    return make_password(secrets.token_urlsafe(TOKEN_BYTES))


def revoke_token(token: AccessToken, *, by: Actor) -> None:
    """Make a token worthless from now on; the first revocation's time stays."""
    revoke_tokens([token.pk], by=by)
    token.refresh_from_db(fields=["revoked_at"])


@transaction.atomic
def revoke_tokens(ids: Iterable[int], *, by: Actor) -> int:
    """Revoke the tokens of those ids that are not yet; return how many."""
    # Locked: of two who revoke at the same time one does it.
    good = AccessToken.objects.select_for_update(of=("self",)).filter(pk__in=list(ids), revoked_at=None)
    tokens = list(good.select_related("application").defer("digest", "application__secret_hash").order_by("pk"))
    AccessToken.objects.filter(pk__in=[token.pk for token in tokens]).update(revoked_at=timezone.now())
    record_each(Action.TOKEN_REVOKED, map(_title, tokens), actor=by.name, user=by.user)
    return len(tokens)


@transaction.atomic
def delete_tokens(ids: Iterable[int], *, by: Actor) -> None:
    """Revoke the tokens of those ids, and forget them."""
    ids = list(ids)
    revoke_tokens(ids, by=by)
    AccessToken.objects.filter(pk__in=ids).delete()


def _title(token: AccessToken) -> str:
    """Return what a token is called in the trail."""
    label = f" “{token.label}”" if token.label else ""
    return f"token {token.pk}{label} of {name_of(token.application)}"


def close_connections(
    connections: Iterable[UUID], code: int, reason: str, *, by: Actor, application: Application | None = None
) -> bool:
    """Have connections closed with `code` and `reason`, in whichever process; tell whether all were asked to.

    Their rows tell when it is done. The audit trail says whose they are, where they are those of an application.
    """
    wanted = tuple(connections)
    if not wanted:
        return True
    subject = f"connection {wanted[0]}" if len(wanted) == 1 else f"{len(wanted)} connections"
    if application is not None:
        subject += f" of {name_of(application)}"
    details = f"{code}: {reason}" if len(wanted) == 1 else f"{code}: {reason}; {_some_of(wanted)}"
    # Recorded first: what cannot be recorded is not done.
    record(Action.CLOSE, actor=by.name, user=by.user, subject=subject, details=details)
    # Where the layer does not take one request, the next would wait for it as long again.
    if all(_is_asked(wanted[at : at + CLOSED_AT_ONCE], code, reason) for at in range(0, len(wanted), CLOSED_AT_ONCE)):
        return True
    record(Action.CLOSE, actor=by.name, user=by.user, subject=subject, details="failed; some may have closed")
    return False


def _is_asked(connections: tuple[UUID, ...], code: int, reason: str) -> bool:
    answers = signals.asked.send(sender=None, event=EndConnections(connections, code, reason))
    return all(is_on_its_way for _, is_on_its_way in answers)


def _some_of(connections: Collection[UUID]) -> str:
    """Name connections as their list does, the first NAMED of them."""
    named = ", ".join(str(uuid)[:8] for uuid in islice(connections, NAMED))
    return named if len(connections) <= NAMED else f"{named} and {len(connections) - NAMED} more"


@transaction.atomic
def give_names_free(clients: Iterable[int], *, by: Actor) -> int:
    """Let the next application that connects under a hub client's name have it, mailbox and all; return how many."""
    owned = _locked(clients).exclude(application=None)
    names = list(owned.values_list("client_id", flat=True))
    freed = owned.update(application=None)
    record_each(Action.NAME_FREED, names, actor=by.name, user=by.user)
    return freed


@transaction.atomic
def forget_clients(clients: Iterable[int], *, by: Actor) -> int:
    """Forget those hub clients that are away, and their letters; return how many."""
    gone = dict(_locked(clients).filter(away()).values_list("pk", "client_id"))
    HubClient.objects.filter(pk__in=gone).delete()
    record_each(Action.NAME_FORGOTTEN, gone.values(), actor=by.name, user=by.user)
    return len(gone)


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
