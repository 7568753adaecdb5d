"""The paths of visitors' pages, and of what other people's pages load of ours."""

from django.urls import URLPattern, path
from django.views.generic import RedirectView

from chatgateway.pages import embed, views
from chatgateway.pages.playground import playground
from chatgateway.pages.start import start
from integrations.parts import Parts


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return the paths, served with `parts`; those below /chat come before 易事厅's, which take the rest."""
    below = "api/v1/embed/<str:pipeline_uuid>"
    return [
        path("", start, name="start"),
        path("playground/", playground, name="playground"),
        path("chat/<uuid:pipeline_uuid>/", views.chat, name="chat"),
        path("chat/<uuid:pipeline_uuid>", RedirectView.as_view(pattern_name="chat", query_string=True)),
        path(f"{below}/widget.js", embed.WidgetView.as_view(parts=parts)),
        path(f"{below}/config", embed.WidgetConfigView.as_view(parts=parts)),
    ]
