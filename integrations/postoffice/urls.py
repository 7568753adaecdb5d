"""The token service's path."""

from django.urls import URLPattern, path

from integrations.parts import Parts
from integrations.postoffice.views import TokenView


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return this wire's paths, served with `parts`."""
    return [path("wecom/token", TokenView.as_view(parts=parts))]
