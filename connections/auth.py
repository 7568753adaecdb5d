"""Who a credential stands for, and from which pages a browser may come."""

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import msgspec
from django.utils import timezone

from connections.models import AccessToken

P = ParamSpec("P")
R = TypeVar("R")
AccessMode = Literal["open", "token"]

# A revocation takes hold within this many seconds (S4).
LONGEST_TTL = 5.0
CACHED_TOKENS = 10_000  # good ones, and as many that were refused
LONGEST_TOKEN = 512
DEFAULT_PORTS = {"http": 80, "https": 443}
# A WebSocket's own scheme, and the scheme of the pages that belong to it.
PAGE_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    WRITE = "write"
    BROADCAST = "broadcast"
    ADMIN = "admin"  # everything


class Principal(msgspec.Struct, frozen=True):
    """Whoever a request or a socket acts for.

    `pipeline` binds it to one, `wires` to some (empty: all), `client_prefixes` to client IDs that begin so (empty:
    any). `origins` are its application's pages, `callback_url` is where its asynchronous answers go.
    """

    kind: Literal["open", "application", "visitor"]
    scopes: frozenset[Scope]
    application: UUID | None = None
    pipeline: UUID | None = None
    origins: frozenset[str] = frozenset()
    wires: frozenset[str] = frozenset()
    client_prefixes: tuple[str, ...] = ()
    callback_url: str = ""


EVERYBODY = Principal(kind="open", scopes=frozenset(Scope))


def visitor_of(pipeline: UUID) -> Principal:
    """Return a visitor of a public pipeline."""
    return Principal(kind="visitor", scopes=frozenset({Scope.READ, Scope.WRITE}), pipeline=pipeline)


def may(principal: Principal, scope: Scope) -> bool:
    """Tell whether `principal` has `scope`; admin includes every other."""
    return scope in principal.scopes or Scope.ADMIN in principal.scopes


def may_use(principal: Principal, wire: str) -> bool:
    """Tell whether `principal` may speak on a wire."""
    return not principal.wires or wire in principal.wires


def may_be(principal: Principal, client_id: str) -> bool:
    """Tell whether `principal` may take a client ID on the hub; an empty prefix counts as none."""
    prefixes = tuple(filter(None, principal.client_prefixes))
    return not prefixes or client_id.startswith(prefixes)


class Read(Protocol):
    """Runs a synchronous query in a database thread."""

    def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]: ...


class _Known(msgspec.Struct, frozen=True):
    """What the database said of a token, and until when it is believed, on the monotonic clock."""

    principal: Principal | None
    until: float


class _Grant(msgspec.Struct, frozen=True):
    """A good token as the database has it."""

    principal: Principal
    expires_at: datetime | None


class Authenticator:
    """Tells who a bearer token stands for.

    In open mode that is everybody, whatever the token. In token mode it is the enabled application of an unexpired,
    unrevoked token; the answer, also a refusal, is believed for `ttl` seconds.
    """

    def __init__(
        self,
        mode: AccessMode,
        read: Read,
        *,
        ttl: float = LONGEST_TTL,
        entries: int = CACHED_TOKENS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = mode == "open"
        self._read = read
        self._ttl = min(ttl, LONGEST_TTL)
        self._entries = entries
        self._clock = clock
        # Apart, so that guesses cannot push good tokens out.
        self._good: OrderedDict[str, _Known] = OrderedDict()
        self._bad: OrderedDict[str, _Known] = OrderedDict()

    async def identify(self, token: str | None) -> Principal | None:
        """Return who `token` stands for, None where it stands for nobody; database errors pass through."""
        if self._open:
            return EVERYBODY
        if not token or len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._good.get(digest) or self._bad.get(digest)
        if known is None or known.until <= self._clock():
            known = await self._look_up(digest)
        return known.principal

    async def _look_up(self, digest: str) -> _Known:
        asked = self._clock()
        grant = await self._read(_grant, digest)
        self._good.pop(digest, None)
        self._bad.pop(digest, None)
        if grant is None:
            known = _Known(None, asked + self._ttl)
            _remember(self._bad, digest, known, self._entries)
            return known
        lifetime = self._ttl
        if grant.expires_at is not None:
            lifetime = min(lifetime, (grant.expires_at - timezone.now()).total_seconds())
        known = _Known(grant.principal, asked + lifetime)
        _remember(self._good, digest, known, self._entries)
        return known


def _remember(cache: OrderedDict[str, _Known], digest: str, known: _Known, bound: int) -> None:
    if len(cache) >= bound:
        cache.popitem(last=False)
    cache[digest] = known


def _grant(digest: str) -> _Grant | None:
    """Return what the token of that SHA-256 grants now."""
    token = (
        AccessToken.objects.select_related("application")
        .filter(digest=digest, revoked_at=None, application__enabled=True)
        .first()
    )
    if token is None or not hmac.compare_digest(token.digest, digest):
        return None
    if token.expires_at is not None and token.expires_at <= timezone.now():
        return None
    application = token.application
    known_scopes = {scope.value for scope in Scope}
    principal = Principal(
        kind="application",
        scopes=frozenset(Scope(scope) for scope in token.scopes if scope in known_scopes),
        application=application.uuid,
        pipeline=application.pipeline,
        origins=frozenset(application.origins),
        wires=frozenset(application.wires),
        client_prefixes=tuple(application.client_prefixes),
        callback_url=application.callback_url,
    )
    return _Grant(principal, token.expires_at)


# --- Origins -----------------------------------------------------------------------------------


def origin_allowed(origin: str | None, *, host: str, scheme: str, mode: AccessMode, allowed: frozenset[str]) -> bool:
    """Tell whether a browser page of `origin` may talk to us (S1).

    `host` and `scheme` are how the client reached us (`http`, `https`, `ws` or `wss`); `host` must have passed
    ALLOWED_HOSTS, or a name that an attacker points at us would be our own. `allowed` is in any spelling.
    """
    if origin is None:
        return True
    page = normal_origin(origin)
    if page is None:
        return False
    if page == normal_origin(f"{PAGE_SCHEMES.get(scheme, '')}://{host}"):
        return True
    if mode == "open" and _is_loopback(urlsplit(page).hostname or ""):
        return True
    return page in allowed or page in {normal_origin(entry) for entry in allowed}


def normal_origin(text: str) -> str | None:
    """Return an origin in its one exact form, scheme://host[:port]; None where it is none (as `null` is)."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or not _is_bare(parts):
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in {None, DEFAULT_PORTS[parts.scheme]} else f":{port}")


def _is_bare(parts: SplitResult) -> bool:
    """Tell whether nothing but scheme, host and port is there; an operator may have copied the last slash."""
    return parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
