"""Whether this process lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from adrf.views import APIView
from channels.layers import get_channel_layer
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from chatgateway.routing import gateway
from integrations.yishiting.serializers import Refusal
from integrations.yishiting.translate import exception_handler

PATIENCE = 3.0  # seconds that the database or the layer may take to answer


@require_safe
async def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether questions can be taken: the gateway has started and the database can be written."""
    database = await database_state()
    if database != "ok":
        return JsonResponse({"status": "unavailable", "database": database}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


class Health(serializers.Serializer[Any]):
    """What there is to the service, and whether it works; each part is "ok" or the name of what is wrong."""

    status = serializers.ChoiceField(("ok", "degraded", "unavailable"))
    version = serializers.CharField()
    database = serializers.CharField()
    channel_layer = serializers.CharField()
    responder = serializers.CharField()


class HealthView(APIView):  # type: ignore[misc]  # adrf ships no types
    """易事厅's look at the service: without its channel layer it still answers, without the others it does not."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Answer whatever a probe says to accept."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def get_exception_handler(self) -> Callable[..., HttpResponse]:
        return exception_handler

    @extend_schema(
        operation_id="health",
        summary="Health",
        tags=["yishiting"],
        responses={200: Health, 405: OpenApiResponse(Refusal, "Method Not Allowed"), 503: Health},
    )
    async def get(self, request: Request) -> JsonResponse:
        """Say how the database, the channel layer and the default pipeline's responders are."""
        database, layer = await asyncio.gather(database_state(), layer_state())
        responder = _responder() if database == "ok" else "unknown"
        usable = database == responder == "ok"
        status = "unavailable" if not usable else "ok" if layer == "ok" else "degraded"
        state = {"database": database, "channel_layer": layer, "responder": responder}
        version = settings.SPECTACULAR_SETTINGS["VERSION"]
        return JsonResponse({"status": status, "version": version, **state}, status=200 if usable else 503)


async def database_state() -> str:
    """Return "ok" where the gateway runs and the database can be written, else the name of what is wrong."""
    return await _state_of(_database)


async def layer_state() -> str:
    """Return "ok" where the channel layer takes messages, else the name of what is wrong."""
    return await _state_of(_layer)


async def _state_of(part: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await part()
    except Exception as error:  # noqa: BLE001  any reason at all means that it does not work
        return type(error).__name__
    return "ok"


def can_answer() -> bool:
    """Tell whether whoever names no pipeline would be answered."""
    return _responder() == "ok"


async def _database() -> None:
    await gateway.ready()
    await gateway.probe.check()


async def _layer() -> None:
    layer: Any = get_channel_layer()
    await layer.group_send("gateway.health", {"type": "gateway.health"})  # nobody listens; it has to be taken


def _responder() -> str:
    pipeline = gateway.catalogue.default()
    return "ok" if pipeline is not None and gateway.turns.can_answer(pipeline) else "none"
