"""The pipeline wire's HTTP paths."""

from django.urls import URLPattern, path

from integrations.langbot import files, views
from integrations.parts import Parts

IMAGES = "api/v1/files/images"
DOCUMENTS = "api/v1/files/documents"


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return this wire's paths, served with `parts`."""
    below = "api/v1/pipelines/<str:pipeline_uuid>/ws"
    return [
        path("api/v1/pipelines", views.PipelinesView.as_view(parts=parts)),
        path(f"{below}/messages/<str:session_type>", views.MessagesView.as_view(parts=parts)),
        path(f"{below}/reset/<str:session_type>", views.ResetView.as_view(parts=parts)),
        path(f"{below}/feedback/<str:session_type>", views.FeedbackView.as_view(parts=parts)),
        path(f"{below}/connections", views.ConnectionsView.as_view(parts=parts)),
        path(f"{below}/broadcast", views.BroadcastView.as_view(parts=parts)),
        path(IMAGES, files.ImagesView.as_view(parts=parts)),
        path(DOCUMENTS, files.DocumentsView.as_view(parts=parts)),
        path("api/v1/files/<str:key>", files.FileView.as_view(parts=parts), name="file"),
        path("api/v1/files/<str:key>/thumbnail", files.ThumbnailView.as_view(parts=parts), name="thumbnail"),
    ]
