"""How staff closes connections: one page that asks for code and reason, and then the deed."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from connections import services
from connections.forms import CloseForm
from connections.models import Application, Connection
from connections.staff import actor

Live = dict[Application | None, list[UUID]]  # connections, by whose they are where that is the point


def close_connections_of(
    admin: "ModelAdmin[Any]", request: HttpRequest, applications: Iterable[Application]
) -> HttpResponse | None:
    """Return the page that asks how to close all connections of applications; None once they were asked to close."""
    owners: dict[UUID | None, Application] = {application.uuid: application for application in applications}
    live: Live = {}
    found = Connection.objects.filter(application__in=owners, ended_at=None)
    for application, connection in found.values_list("application", "uuid"):
        live.setdefault(owners[application], []).append(connection)
    return close(admin, request, live)


def close(admin: "ModelAdmin[Any]", request: HttpRequest, live: Live) -> HttpResponse | None:
    """Return the page that asks how to close connections, None once it is done."""
    connections = count(sum(map(len, live.values())), "connection")
    if not live:
        messages.warning(request, "There is nothing to close: none is live.")
        return None
    form = CloseForm(request.POST if "code" in request.POST else None)
    if not form.is_valid():
        return _page(admin, request, f"Close {connections}{_whose(live)}", form)
    code, reason = form.cleaned_data["code"], form.cleaned_data["reason"]
    for application, uuids in live.items():
        services.close_connections(uuids, code, reason, by=actor(request), application=application)
    messages.success(request, f"{connections} asked to close with {code}; each shows its end once it has.")
    return None


def count(number: int, what: str) -> str:
    """Return how many there are, in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _whose(live: Iterable[Application | None]) -> str:
    names = [application.name for application in live if application is not None]
    return f" of {', '.join(names)}" if names else ""


def _page(admin: "ModelAdmin[Any]", request: HttpRequest, title: str, form: CloseForm) -> HttpResponse:
    # What the list posted to come here is posted again with the form.
    again = ("action", "select_across", ACTION_CHECKBOX_NAME)
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.model._meta,
        "title": title,
        "form": form,
        "posted": [(name, value) for name in again for value in request.POST.getlist(name)],
    }
    return TemplateResponse(request, "admin/connections/connection/close.html", context)
