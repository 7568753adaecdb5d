"""The pipeline wire's socket paths."""

from django.urls import URLPattern, path

from integrations.langbot.consumers import PipelineConsumer
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return this wire's socket paths, served with `parts`."""
    consumer = PipelineConsumer.as_asgi(parts=parts)
    return [path("api/v1/pipelines/<str:pipeline_uuid>/ws/connect", consumer)]
