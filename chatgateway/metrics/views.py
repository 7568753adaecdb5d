"""GET /metrics."""

import ipaddress
from contextlib import suppress
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from chatgateway.routing import gateway
from connections.auth import Scope, may
from conversations.store import StoreError
from integrations.peers import Peer


@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """Tell what the workers of this machine counted and measure, in Prometheus' text format."""
    # Django's ASGI request has its scope; the type is of any request.
    scope: Any = request.scope  # type: ignore[attr-defined]
    refusal = await _refusal(Peer(scope))
    if refusal is not None:
        return refusal
    text, content_type = await gateway.reporter.tell(request.headers.get("Accept", ""))
    return HttpResponse(text, content_type=content_type)


async def _refusal(peer: Peer) -> HttpResponse | None:
    """Return the answer to whoever may not see them.

    A peer on this machine may, so that they are there also when the database is away; one that came through a proxy
    is not on it. Everybody else needs a token with the scope `admin`, which in open mode everybody has.
    """
    if _is_loopback(peer.address) and not peer.proxied and peer.origin is None:
        return None
    try:
        principal = await gateway.parts.authenticator.identify(peer.token)
    except StoreError as error:
        return HttpResponse(f"{error}\n", status=503, headers={"Retry-After": "5"}, content_type="text/plain")
    if principal is None:
        headers = {"WWW-Authenticate": "Bearer"}
        return HttpResponse("A token is needed\n", status=401, headers=headers, content_type="text/plain")
    if not may(principal, Scope.ADMIN):
        return HttpResponse("The scope admin is needed\n", status=403, content_type="text/plain")
    return None


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False
