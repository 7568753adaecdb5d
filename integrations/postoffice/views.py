"""The token service: an application's secret for a bearer token."""

from collections.abc import Callable, Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from connections.limits import per_minute
from connections.services import exchange_secret
from conversations.store import unhurried
from integrations.errors import WireError, fault_of
from integrations.limiting import admit
from integrations.peers import Peer
from integrations.postoffice import serializers
from integrations.rest import StrictJSONParser, WireView, refusals
from integrations.rest import exception_handler as enveloped

ATTEMPTS = per_minute(30)  # of one address
LONGEST = 200  # characters of an appid or a secret
WRONG_PAIR = "invalid appid or secret"


# A hash is slow on purpose: it must not hold up anybody's lease.
_exchange = unhurried(exchange_secret)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return a failure in this call's own shape."""
    answer = enveloped(error, context)
    message = answer.data["msg"] if isinstance(error, APIException) else fault_of(error).message
    answer.data = {"error": message}
    answer["Cache-Control"] = "no-store"
    return answer


class TokenView(WireView):
    """Tokens for applications."""

    parser_classes = (StrictJSONParser, FormParser, MultiPartParser)
    renderer_classes = (JSONRenderer,)

    def get_exception_handler(self) -> Callable[[Exception, Mapping[str, Any]], Response]:
        """Return what words a failure."""
        return exception_handler

    @extend_schema(
        operation_id="get_token",
        summary="A token for an application's secret",
        parameters=[
            OpenApiParameter("appid", str, OpenApiParameter.QUERY, required=True),
            OpenApiParameter("secret", str, OpenApiParameter.QUERY, required=True),
        ],
        responses={200: serializers.Token, **refusals(serializers.TokenFailure)},
        tags=["token"],
    )
    async def get(self, request: Request) -> Response:
        """Return a token that is good for 30 days."""
        return await self._issue(request, {})

    @extend_schema(
        operation_id="post_token",
        summary="A token for an application's secret, which no log of addresses sees",
        request={
            "application/json": serializers.Credentials,
            "application/x-www-form-urlencoded": serializers.Credentials,
        },
        responses={200: serializers.Token, **refusals(serializers.TokenFailure)},
        tags=["token"],
    )
    async def post(self, request: Request) -> Response:
        """Return a token that is good for 30 days."""
        return await self._issue(request, request.data)

    async def _issue(self, request: Request, body: Any) -> Response:
        await self.parts.ready()
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]
        await admit(self.parts.limiter, ATTEMPTS, "postoffice.token", peer.network)
        given = {**request.query_params.dict(), **(body.dict() if hasattr(body, "dict") else _members(body))}
        issued = await self.parts.store.read(_exchange, _word(given.get("appid")), _word(given.get("secret")))
        if issued is None:
            raise WireError(WRONG_PAIR, status=401)
        token, plain = issued
        assert token.expires_at is not None
        ttl = int((token.expires_at - timezone.now()).total_seconds())
        content = {"expires": int(token.expires_at.timestamp() * 1000), "token": plain, "ttl": ttl}
        return Response(content, headers={"Cache-Control": "no-store"})


def _members(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else {}


def _word(value: object) -> str:
    """Return an appid or a secret as it can be looked up; what cannot be one is nobody's."""
    return value if isinstance(value, str) and len(value) <= LONGEST and "\0" not in value else ""
