"""The ASGI application: HTTP to Django, sockets to the wires, lifespan to the gateway's start and stop."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatgateway.settings")
django.setup(set_prefix=False)

from chatgateway.handler import PageHandler, WireHandler, is_page  # noqa: E402  Django needs to be set up
from chatgateway.routing import gateway, websocket_router  # noqa: E402

pages, wires = PageHandler(), WireHandler()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Hand one scope to who serves it."""
    match scope["type"]:
        case "websocket":
            await websocket_router(scope, receive, send)
        case "http":
            handler = pages if is_page(scope["path"]) else wires
            await handler(scope, receive, send)
        case "lifespan":
            await _lifespan(receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await gateway.ready()
            except Exception as error:  # noqa: BLE001  whatever it is, the server is told in one line
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            await gateway.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
