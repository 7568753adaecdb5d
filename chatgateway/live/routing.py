"""The path of staff's socket."""

from typing import Any

from django.urls import path

from chatgateway.live.consumers import LiveConsumer
from chatgateway.live.telling import Teller
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[Any]:
    """Return the socket's path, served with `parts`."""
    # Channels routes sockets by Django's `path`, whose types know views only.
    consumer: Any = LiveConsumer.as_asgi(parts=parts, teller=Teller())
    return [path("admin/live", consumer)]
