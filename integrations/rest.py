"""REST as the pipeline wire speaks it: the envelope, strict JSON in, errors out of the one table, who may what."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from adrf.views import APIView
from django.conf import settings
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from connections.auth import AccessMode, Principal, Scope, may, origin_allowed
from integrations.errors import WireError, fault_of
from integrations.fields import NOT_BLANK
from integrations.limiting import admit_call
from integrations.parts import Parts
from integrations.peers import Peer
from integrations.strict import ProtocolError, decode

log = structlog.get_logger(__name__)

Method = TypeVar("Method", bound=Callable[..., Any])

# What a call may be refused with by what comes before its view: who calls, how, how much, how often, and when.
REFUSALS = (400, 401, 403, 404, 405, 406, 413, 415, 429, 503)
PIPELINE_UUID = OpenApiParameter("pipeline_uuid", OpenApiTypes.UUID, OpenApiParameter.PATH)


class BodyTooLarge(exceptions.APIException):
    """The body is larger than this call takes."""

    status_code = 413
    default_detail = "The request body is too large"


class StrictJSONParser(BaseParser):
    """Reads a JSON body by the same strict rules as frames."""

    media_type = "application/json"

    @property
    def limit(self) -> int:
        """The largest body that is taken, in bytes: as large as a frame."""
        return settings.MAX_FRAME_BYTES

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the body's value; raise ParseError where it is not strict JSON, BodyTooLarge beyond the limit."""
        body = stream.read(self.limit + 1)
        if len(body) > self.limit:
            raise BodyTooLarge
        try:
            return decode(body)
        except ProtocolError as error:
            raise exceptions.ParseError(str(error)) from error


class Failure(serializers.Serializer[Any]):
    """What a refused call answers."""

    code = serializers.IntegerField(help_text="-1")
    msg = serializers.CharField()
    reason = serializers.CharField(required=False, help_text="A word for why a file is not taken.")


class Words(serializers.RegexField):
    """Text with something in it, and the schema says so."""

    def __init__(self, **more: Any) -> None:
        super().__init__(NOT_BLANK, **more)


def refusals(shape: type[serializers.Serializer[Any]], *more: int) -> dict[int, OpenApiResponse]:
    """Return how a call's schema tells of its failures, which all have one `shape`; a call may fail in `more` ways."""
    return {code: OpenApiResponse(shape, HTTPStatus(code).phrase) for code in sorted({*REFUSALS, *more})}


@cache
def enveloped(data: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the envelope around `data`."""
    fields = {"code": serializers.IntegerField(help_text="0"), "msg": serializers.CharField(), "data": data()}
    return type(f"{data.__name__}Answer", (serializers.Serializer,), fields)


def operation(
    name: str, summary: str, answer: type[serializers.Serializer[Any]], *, status: int = 200, **more: Any
) -> Callable[[Method], Method]:
    """Describe a call in the API's schema: its unique name, what it answers, and the one shape of its failures."""
    responses = {status: OpenApiResponse(enveloped(answer)), **refusals(Failure)}
    return extend_schema(operation_id=name, summary=summary, responses=responses, **more)


def success(data: Mapping[str, Any]) -> Response:
    """Return the envelope of an answer."""
    return Response({"code": 0, "msg": "ok", "data": data})


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return the envelope of a failure, with its HTTP status; what nobody foresaw is logged."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, exceptions.APIException):
        return Response({"code": -1, "msg": _words(error.detail)}, status=error.status_code)
    fault = fault_of(error)
    if not fault.expected:
        log.error("request.error", view=type(context.get("view")).__name__, exc_info=error)
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else None
    reason = {"reason": fault.reason} if fault.reason else {}
    return Response({"code": -1, "msg": fault.message, **reason}, status=fault.status, headers=headers)


def _words(detail: Any) -> str:
    """Return an API error's detail as one sentence that names the field."""
    if isinstance(detail, dict):
        field, words = next(iter(detail.items()))
        return _words(words) if field == "non_field_errors" else f"{field}: {_words(words)}"
    if isinstance(detail, list):
        return _words(detail[0]) if detail else "invalid"
    return str(detail)


class WireView(APIView):  # type: ignore[misc]  # adrf ships no types
    """An asynchronous REST view with the wires' collaborators and a known caller."""

    parser_classes: Sequence[type[BaseParser]] = (StrictJSONParser,)
    metadata_class = None  # the schema tells more than OPTIONS could, and OPTIONS would ask for no credential
    # The class attribute is only a place for `as_view(parts=…)` to fill.
    parts: Parts = None  # type: ignore[assignment]

    async def caller(self, request: Request, scope: Scope) -> Principal:
        """Return who is calling; raise WireError without a good credential (401) or enough scope (403)."""
        await self.parts.ready()
        # DRF hands Django's own attributes through; `scope` is the ASGI request's.
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]
        await admit_call(self.parts, peer)
        principal = await self.parts.authenticator.identify(peer.token)
        if not self._origin_allowed(peer, principal):
            raise WireError("Origin not allowed", status=403)
        if principal is None:
            raise WireError("No valid user token provided", status=401)
        if not may(principal, scope):
            raise WireError("Forbidden", status=403)
        return principal

    def _origin_allowed(self, peer: Peer, principal: Principal | None) -> bool:
        """Tell whether the page that calls may (S1): in open mode a stranger's page could otherwise do everything."""
        options = self.parts.options
        mode: AccessMode = "open" if options.open_access else "token"
        # The host has passed HostGuard.
        if origin_allowed(peer.origin, host=peer.host, scheme=peer.scheme, mode=mode, allowed=options.allowed_origins):
            return True
        return principal is not None and peer.origin in principal.origins
