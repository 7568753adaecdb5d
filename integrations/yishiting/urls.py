"""易事厅's HTTP paths."""

from django.urls import URLPattern, path, re_path

from integrations.parts import Parts
from integrations.yishiting import views


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return this wire's paths, served with `parts`; the last takes what no page or call below /chat does."""
    return [
        path("chat", views.ChatView.as_view(parts=parts)),
        path("chat/sync", views.SyncView.as_view(parts=parts)),
        path("chat/async", views.AsyncView.as_view(parts=parts)),
        path("chat/async/<str:trace_uuid>", views.TraceView.as_view(parts=parts)),
        re_path("^chat/", views.nothing),
    ]
