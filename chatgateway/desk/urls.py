"""The paths of the desk, below /admin/desk/."""

from django.urls import URLPattern, path

from chatgateway.desk import views
from chatgateway.desk.files import file_view
from integrations.parts import Parts

NAME = "desk"


def urlpatterns(parts: Parts) -> list[URLPattern]:
    """Return the paths; files are kept by `parts`."""
    return [
        path("", views.desk, name="desk"),
        path("queue/", views.queue, name="queue"),
        path("canned/", views.canned, name="canned"),
        path("<uuid:session>/", views.desk, name="conversation"),
        path("<uuid:session>/view/", views.view, name="view"),
        path("<uuid:session>/files/", file_view(parts), name="files"),
        path("<uuid:session>/<slug:deed>/", views.act, name="act"),
    ]
