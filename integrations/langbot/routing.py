"""The pipeline wire's socket paths."""

from typing import Any

from django.urls import path

from integrations.langbot.consumers import PipelineConsumer
from integrations.langbot.rich import RichEncoder
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[Any]:
    """Return this wire's socket paths, served with `parts`."""
    # Channels routes sockets by Django's `path`, whose types know views only.
    consumer: Any = PipelineConsumer.as_asgi(parts=parts, rich=RichEncoder())
    return [path("api/v1/pipelines/<str:pipeline_uuid>/ws/connect", consumer)]
