"""Whether this process lives, and whether it can serve."""

import asyncio

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from chatgateway.routing import gateway

PATIENCE = 3.0  # seconds that the database may take to answer


@require_safe
async def healthz(request: HttpRequest) -> JsonResponse:
    """Say that the process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """Say whether questions can be taken: the gateway has started and the database answers."""
    try:
        async with asyncio.timeout(PATIENCE):
            await gateway.ready()
            await gateway.store.read(_ask_database)
    except Exception as error:  # noqa: BLE001  any reason at all means not ready
        return JsonResponse({"status": "unavailable", "database": type(error).__name__}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
