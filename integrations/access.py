"""Who is speaking on a wire, and with which pipeline (wire/README.md, rules 7, 10 and 11)."""

from connections.auth import Principal, Scope, may, may_use, visitor_of
from conversations.responders.base import PipelineConfig
from conversations.turns import PipelineMissing
from integrations.errors import NOT_ALLOWED, NOT_AUTHENTICATED, WireError
from integrations.parts import Parts
from integrations.peers import Peer


async def identify(parts: Parts, peer: Peer, token: str | None, public: PipelineConfig | None) -> Principal | None:
    """Return who is speaking: whoever the token stands for, or without one a visitor of the pipeline `public`.

    A visitor comes from a page, whose origin has been found allowed before the upgrade.
    """
    principal = await parts.authenticator.identify(token)
    if principal is None and token is None and public is not None and public.public and peer.origin is not None:
        return visitor_of(public.uuid)
    return principal


def admitted(principal: Principal | None, wire: str) -> Principal:
    """Return `principal`; raise WireError where there is none, or where it may not read on this wire."""
    if principal is None:
        raise WireError("Unauthorized", zh="未通过身份验证", close_code=NOT_AUTHENTICATED, status=401)
    if not may(principal, Scope.READ) or not may_use(principal, wire):
        raise WireError("Forbidden", zh="没有权限", close_code=NOT_ALLOWED, status=403)
    return principal


def pipeline_of(parts: Parts, principal: Principal) -> PipelineConfig:
    """Return the pipeline of the caller's application, else the default one; raise PipelineMissing."""
    catalogue = parts.catalogue
    pipeline = catalogue.get(principal.pipeline) if principal.pipeline else catalogue.default()
    if pipeline is None:
        raise PipelineMissing
    return pipeline
