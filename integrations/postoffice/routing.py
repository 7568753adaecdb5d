"""The hub's socket paths."""

from typing import Any

from django.urls import path

from connections.mailroom import Mailroom
from integrations.parts import Parts
from integrations.postoffice.consumers import HubConsumer


def urlpatterns(parts: Parts, mailroom: Mailroom) -> list[Any]:
    """Return this wire's socket paths, served with `parts`."""
    # Channels routes sockets by Django's `path`, whose types know views only.
    consumer: Any = HubConsumer.as_asgi(parts=parts, mailroom=mailroom)
    return [path("", consumer), path("postoffice/ws", consumer)]
