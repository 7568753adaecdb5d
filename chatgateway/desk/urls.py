"""The paths of the desk, below /admin/desk/."""

from django.urls import path

from chatgateway.desk import views

app_name = "desk"
urlpatterns = [
    path("", views.desk, name="desk"),
    path("queue/", views.queue, name="queue"),
    path("canned/", views.canned, name="canned"),
    path("<uuid:session>/", views.desk, name="conversation"),
    path("<uuid:session>/view/", views.view, name="view"),
    path("<uuid:session>/<slug:deed>/", views.act, name="act"),
]
