"""The WeChat wire's HTTP paths."""

from django.urls import URLPattern, path

from integrations.parts import Parts
from integrations.wechat import views
from integrations.wechat.accounts import Accounts


def urlpatterns(parts: Parts, accounts: Accounts) -> list[URLPattern]:
    """Return this wire's paths, served with `parts`."""
    return [
        path("wechat/login", views.LoginView.as_view(parts=parts, accounts=accounts)),
        path("wechat/chat", views.ChatView.as_view(parts=parts, accounts=accounts)),
        path("wechat/health", views.HealthView.as_view(parts=parts, accounts=accounts)),
    ]
