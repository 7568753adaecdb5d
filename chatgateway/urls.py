"""Every HTTP path."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponseServerError
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import include, path
from django.utils import translation
from django.views import defaults
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from chatgateway import health
from chatgateway.api import urls as api
from chatgateway.asyncapi.views import asyncapi
from chatgateway.broadcast.views import broadcast
from chatgateway.dashboard import views as dashboard
from chatgateway.desk import urls as desk
from chatgateway.metrics.views import metrics
from chatgateway.pages import urls as pages
from chatgateway.pages.language import language_of
from chatgateway.routing import gateway
from integrations.langbot import urls as langbot
from integrations.postoffice import urls as postoffice
from integrations.wechat import urls as wechat
from integrations.wechat import views as wechat_views
from integrations.yishiting import urls as yishiting

urlpatterns = [
    path("admin/broadcast/", broadcast, name="broadcast"),
    path("admin/desk/", include((desk.urlpatterns(gateway.parts), desk.NAME))),
    path("admin/dashboard/", dashboard.view, name="dashboard"),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("health", health.HealthView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/asyncapi/", asyncapi),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    *pages.urlpatterns(gateway.parts),
    *langbot.urlpatterns(gateway.parts),
    *postoffice.urlpatterns(gateway.parts),
    *yishiting.urlpatterns(gateway.parts),
    *wechat.urlpatterns(gateway.parts, gateway.wechat_accounts),
    *api.urlpatterns(gateway.parts),
]


def handler400(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer what Django refuses before any view, such as a foreign host: on the WeChat wire in its own shape."""
    if request.path.startswith("/wechat/"):
        return wechat_views.bad_request()
    return defaults.bad_request(request, exception)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer who may not, in his language."""
    with translation.override(language_of(request)):
        return defaults.permission_denied(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer whoever looks for what is not there, in his language, also where no page's middleware has found it."""
    with translation.override(language_of(request)):
        return defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> HttpResponseBase:
    """Answer whom a mistake of ours has hit, in his language."""
    with translation.override(language_of(request)):
        return HttpResponseServerError(render_to_string("500.html"))  # asks for nobody's session: it may be what failed
