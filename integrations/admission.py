"""What is checked before a socket is upgraded, and how it is refused: status and one line of text."""

from typing import Any

import structlog
from django.http.request import split_domain_port, validate_host

from connections.auth import AccessMode, origin_allowed
from connections.limits import per_minute
from connections.metrics import SHED
from integrations.errors import POLICY, Fault
from integrations.limiting import CALL
from integrations.parts import Parts, WireOptions
from integrations.peers import Peer

log = structlog.get_logger(__name__)


def refusal(message: str, *, status: int, retry_after: int | None = None, reason: str = "") -> Fault:
    """Return a refusal before the upgrade; `reason` is a word for the metrics."""
    return Fault(message, message, status=status, retry_after=retry_after, reason=reason)


RATE, PLACES, NO_ROOM = "rate", "address", "full"
HELD_BACK = {RATE, PLACES}  # reasons that are one address's doing: it hears so a moment later
OFTEN = {RATE, PLACES, NO_ROOM}  # reasons that many handshakes are refused for: the log hears of an address once
CROWDED = refusal("Too many connections from this address", status=503, retry_after=5, reason=PLACES)


async def objection(parts: Parts, peer: Peer, *, known_origin: bool = False) -> Fault | None:
    """Return what speaks against an upgrade whoever asks for it, or None.

    With `known_origin` the wire vouches for the origin: that of an app, which no page of a browser can have.
    """
    options = parts.options
    if options.open_access and peer.proxied and not options.proxied_open_access:
        return refusal("Open access is not served through a proxy", status=403, reason="proxy")
    wait = await parts.limiter.hit(per_minute(options.calls_of_address), CALL, peer.network)
    if wait is not None:
        return refusal("Too many requests from this address", status=429, retry_after=wait, reason=RATE)
    if not known_origin and not await _origin_allowed(parts, peer):
        return refusal("Origin not allowed", status=403, reason="origin")
    if parts.registry.live >= options.connections:
        parts.metrics.count(SHED, "connections")
        return refusal("Connection limit reached", status=503, retry_after=5, reason=NO_ROOM)
    return None


async def refuse(scope: Any, send: Any, fault: Fault) -> None:
    """Answer a handshake with a refusal; a server that cannot send a body closes instead."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if fault.retry_after is not None:
        headers.append((b"retry-after", str(fault.retry_after).encode()))
    await send({"type": "websocket.http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": fault.message.encode()})


def own_host(options: WireOptions, peer: Peer) -> str:
    """Return the host that was asked for where it is ours, else nothing.

    A name that an attacker points at us must not pass as our own origin.
    """
    return peer.host if validate_host(split_domain_port(peer.host)[0], options.allowed_hosts) else ""


async def _origin_allowed(parts: Parts, peer: Peer) -> bool:
    """Tell whether the page's origin may connect: on the allow-list, or on its application's."""
    options = parts.options
    mode: AccessMode = "open" if options.open_access else "token"
    host = own_host(options, peer)
    if origin_allowed(peer.origin, host=host, scheme=peer.scheme, mode=mode, allowed=options.allowed_origins):
        return True
    principal = await parts.authenticator.identify(peer.token) if peer.token else None
    return principal is not None and peer.origin in principal.origins
