"""The contact wire's socket path."""

from typing import Any

from django.urls import path

from integrations.contact.consumers import ContactConsumer
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[Any]:
    """Return this wire's socket path, served with `parts`."""
    # Channels routes sockets by Django's `path`, whose types know views only.
    consumer: Any = ContactConsumer.as_asgi(parts=parts)
    return [path("contact", consumer)]
