"""The management calls' paths."""

from django.urls import URLPattern, path

from chatgateway.api import documents
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return the paths, served with `parts`."""
    below = "api/v1/pipelines/<str:pipeline_uuid>/documents"
    return [
        path(below, documents.DocumentsView.as_view(parts=parts)),
        path(f"{below}/<str:document_uuid>", documents.DocumentView.as_view(parts=parts)),
    ]
