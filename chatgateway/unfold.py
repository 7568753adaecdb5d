"""The look and the navigation of the admin."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy

# Tailwind's blue: enough contrast for white text from 600 on.
PRIMARY = {
    "50": "oklch(97% .014 254.604)",
    "100": "oklch(93.2% .032 255.585)",
    "200": "oklch(88.2% .059 254.128)",
    "300": "oklch(80.9% .105 251.813)",
    "400": "oklch(70.7% .165 254.624)",
    "500": "oklch(62.3% .214 259.815)",
    "600": "oklch(54.6% .245 262.881)",
    "700": "oklch(48.8% .243 264.376)",
    "800": "oklch(42.4% .199 265.638)",
    "900": "oklch(37.9% .146 265.522)",
    "950": "oklch(28.2% .091 267.935)",
}


def _may_view(app: str, model: str) -> Callable[[HttpRequest], bool]:
    def permission(request: HttpRequest) -> bool:
        return request.user.has_module_perms(app) and request.user.has_perm(f"{app}.view_{model}")

    return permission


def _page(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": _may_view(app, model),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Chat gateway",
    "SITE_HEADER": "Chat gateway",
    "SITE_SYMBOL": "forum",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "COLORS": {"primary": PRIMARY},
    "LOGIN": {"form": "chatgateway.login.LoginForm"},
    "DASHBOARD_CALLBACK": "chatgateway.dashboard.views.dashboard_callback",
    "SIDEBAR": {
        "navigation": [
            {"items": [{"title": "Dashboard", "icon": "monitoring", "link": reverse_lazy("admin:index")}]},
            {
                "title": "Conversations",
                "items": [
                    {
                        "title": "Desk",
                        "icon": "support_agent",
                        "link": reverse_lazy("desk:desk"),
                        "permission": "chatgateway.roles.may_work_at_the_desk",
                    },
                    _page("Sessions", "forum", "conversations", "chatsession"),
                    _page("Contact requests", "contact_mail", "conversations", "contactrequest"),
                    _page("Canned replies", "quickreply", "conversations", "cannedreply"),
                    _page("Pipelines", "account_tree", "conversations", "pipeline"),
                ],
            },
            {
                "title": "Knowledge",
                "separator": True,
                "items": [_page("Documents", "article", "conversations", "document")],
            },
            {
                "title": "Connections",
                "separator": True,
                "items": [
                    _page("Connections", "sensors", "connections", "connection"),
                    _page("Hub clients", "hub", "connections", "hubclient"),
                    _page("Workers", "memory", "connections", "worker"),
                    {
                        "title": "Broadcast",
                        "icon": "campaign",
                        "link": reverse_lazy("broadcast"),
                        "permission": lambda request: request.user.has_perm("connections.broadcast_message"),
                    },
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _page("Applications", "apps", "connections", "application"),
                    _page("Tokens", "key", "connections", "accesstoken"),
                    _page("Users", "person", "auth", "user"),
                    _page("Groups", "group", "auth", "group"),
                    _page("Audit trail", "history", "connections", "auditentry"),
                ],
            },
        ],
    },
}
