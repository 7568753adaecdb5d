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
from connections.forms import WIRES, CloseForm
from connections.models import Application, Connection
from connections.staff import actor

NAMED = 10  # of the connections that are about to be closed

Live = dict[Application | None, list[UUID]]  # connections, by whose they are where that is the point


def close_connections_of(
    admin: "ModelAdmin[Any]", request: HttpRequest, applications: Iterable[Application], *, back: str
) -> HttpResponse | None:
    """Return the page that asks how to close all connections of applications; None once they were asked to close."""
    owners: dict[UUID | None, Application] = {application.uuid: application for application in applications}
    live: Live = {}
    found = Connection.objects.filter(application__in=owners, ended_at=None)
    for application, connection in found.values_list("application", "uuid"):
        live.setdefault(owners[application], []).append(connection)
    return close(admin, request, live, back=back)


def close(admin: "ModelAdmin[Any]", request: HttpRequest, live: Live, *, back: str) -> HttpResponse | None:
    """Return the page that asks how to close connections, and leads `back` to where one was; None once it is done."""
    connections = count(sum(map(len, live.values())), "connection")
    if not live:
        messages.warning(request, "There is nothing to close: none is live.")
        return None
    form = CloseForm(request.POST if "code" in request.POST else None)
    if not form.is_valid():
        context = {"title": f"Close {connections}{_whose(live)}", "form": form, "back": back, **_named(live)}
        return _page(admin, request, context)
    code, reason = form.cleaned_data["code"], form.cleaned_data["reason"]
    asked = [
        services.close_connections(uuids, code, reason, by=actor(request), application=application)
        for application, uuids in live.items()
    ]
    if all(asked):
        messages.success(request, f"{connections} asked to close with {code}; each shows its end once it has.")
    else:
        messages.error(request, f"The workers cannot be reached: {connections} may stay open; please try again.")
    return None


def count(number: int, what: str) -> str:
    """Return how many there are, in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _whose(live: Iterable[Application | None]) -> str:
    names = [application.name for application in live if application is not None]
    return f" of {', '.join(names)}" if names else ""


def _named(live: Live) -> dict[str, Any]:
    """Return wire, client and address of a few of the connections, and how many more there are."""
    uuids = [uuid for owned in live.values() for uuid in owned]
    first = Connection.objects.filter(uuid__in=uuids[:NAMED]).order_by("-connected_at")
    named = [(WIRES.get(one.wire, one.wire), one.client, one.address) for one in first]
    return {"named": named, "more": len(uuids) - len(named)}


def _page(admin: "ModelAdmin[Any]", request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    # What the list posted to come here is posted again with the form.
    again = ("action", "select_across", ACTION_CHECKBOX_NAME)
    posted = [(name, value) for name in again for value in request.POST.getlist(name)]
    common = {**admin.admin_site.each_context(request), "opts": admin.model._meta, "posted": posted}
    return TemplateResponse(request, "admin/connections/connection/close.html", {**common, **context})
