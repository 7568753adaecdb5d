"""Staff's pages for who is here."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import CharField, Count, Exists, F, Model, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from connections import services
from connections.application_admin import AccessTokenAdmin, ApplicationAdmin
from connections.filters import PipelineFilter, StateFilter, WireFilter, WorkerFilter, uuid_of
from connections.forms import WIRES, CloseForm
from connections.models import AccessToken, Application, Connection, HubClient, Worker
from connections.staff import STATES, ReadOnlyAdmin, pipeline_name


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    list_display = (
        "shown_uuid", "shown_state", "shown_wire", "shown_pipeline", "session_type", "shown_session", "address",
        "shown_messages", "shown_connected", "shown_active", "shown_worker",
    )  # fmt: skip
    list_fullwidth = True
    actions = ("close_selected",)
    list_filter = (StateFilter, WireFilter, PipelineFilter, WorkerFilter)
    search_fields = ("address",)
    search_help_text = "A connection's or session's UUID, or an address"
    ordering = (F("ended_at").desc(nulls_first=True), "-connected_at")
    fieldsets = (
        (None, {"fields": (
            ("uuid", "shown_state"), ("shown_wire", "shown_pipeline"), ("session_type", "shown_session"),
            ("address", "shown_worker"), "user_agent",
        )}),
        ("Activity", {"fields": (
            ("connected_at", "last_active"), ("messages_in", "messages_out"), ("bytes_in", "bytes_out"),
            ("ended_at", "close_code"), "close_reason",
        )}),
    )  # fmt: skip
    readonly_fields = ("shown_state", "shown_wire", "shown_pipeline", "shown_session", "shown_worker")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        found: QuerySet[Connection] = super().get_queryset(request)
        workers = Worker.objects.filter(uuid=OuterRef("worker")).annotate(
            label=Concat("host", Value(":"), Cast("pid", CharField()))
        )
        return found.annotate(pipeline_name=pipeline_name(), worker_label=Subquery(workers.values("label")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        uuid = uuid_of(search_term.strip())
        if uuid is not None:
            return queryset.filter(uuid=uuid) | queryset.filter(session=uuid), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        return found if request.user.has_perm("connections.change_connection") else {}

    @admin.action(description="Close the selected connections")
    def close_selected(self, request: HttpRequest, chosen: QuerySet[Connection]) -> HttpResponse | None:
        """Ask for the reason, then have the live ones among them closed."""
        live = list(chosen.filter(ended_at=None).values_list("uuid", flat=True))
        if not live:
            messages.warning(request, "None of them is live any more.")
            return None
        form = CloseForm(request.POST if "code" in request.POST else None)
        if not form.is_valid():
            context = {
                **self.admin_site.each_context(request),
                "opts": self.model._meta,
                "title": f"Close {_count(live, 'connection')}",
                "form": form,
                "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            }
            return TemplateResponse(request, "admin/connections/connection/close.html", context)
        reason = form.cleaned_data["reason"]
        services.close_connections(live, form.cleaned_data["code"], reason)
        for connection in chosen.filter(uuid__in=live):
            self.log_change(request, connection, f"Closed with {form.cleaned_data['code']}: {reason}")
        messages.success(request, f"{_count(live, 'connection')} asked to close; each shows its end once it has.")
        return None

    @admin.display(description="connection")
    def shown_uuid(self, connection: Connection) -> str:
        return f"{str(connection.uuid)[:8]}…"

    @admin.display(description="connected", ordering="connected_at")
    def shown_connected(self, connection: Connection) -> SafeString:
        return _time(connection.connected_at)

    @admin.display(description="last active", ordering="last_active")
    def shown_active(self, connection: Connection) -> SafeString:
        return _time(connection.last_active)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, connection: Connection) -> str:
        return "live" if connection.ended_at is None else "ended"

    @admin.display(description="wire", ordering="wire")
    def shown_wire(self, connection: Connection) -> str:
        return WIRES.get(connection.wire, connection.wire)

    @admin.display(description="pipeline")
    def shown_pipeline(self, connection: Connection) -> str:
        return getattr(connection, "pipeline_name", None) or ""

    @admin.display(description="session")
    def shown_session(self, connection: Connection) -> str:
        if connection.session is None:
            return ""
        url = reverse("admin:conversations_chatsession_change", args=[connection.session])
        return format_html('<a class="text-link" href="{}">{}…</a>', url, str(connection.session)[:8])

    @admin.display(description="in / out")
    def shown_messages(self, connection: Connection) -> str:
        return f"{connection.messages_in} / {connection.messages_out}"

    @admin.display(description="worker")
    def shown_worker(self, connection: Connection) -> str:
        return getattr(connection, "worker_label", None) or ""


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "shown_state", "beat", "started_at", "ended_at", "uuid")
    list_filter = (StateFilter,)
    search_fields = ("host",)
    ordering = ("-started_at",)
    fields = (("host", "pid"), ("shown_state", "beat"), ("started_at", "ended_at"), "uuid")
    readonly_fields = ("shown_state",)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, worker: Worker) -> str:
        return "live" if worker.ended_at is None else "ended"


@admin.register(HubClient)
class HubClientAdmin(ReadOnlyAdmin):
    """Who has ever connected to the hub, and what waits for it."""

    list_display = ("client_id", "shown_application", "shown_state", "shown_waiting", "shown_seen")
    search_fields = ("client_id",)
    search_help_text = "A client ID, or a part of it"
    ordering = ("client_id",)
    fields = (
        "client_id", ("shown_application", "shown_state"), ("shown_waiting", "last_seq"),
        ("first_seen", "last_seen"), ("connection", "start_time"),
    )  # fmt: skip
    readonly_fields = ("shown_application", "shown_state", "shown_waiting")
    actions = ("give_free",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[HubClient]:
        found: QuerySet[HubClient] = super().get_queryset(request)
        applications = Application.objects.filter(uuid=OuterRef("application"))
        live = Worker.objects.filter(uuid=OuterRef("worker"), ended_at=None)
        return found.annotate(
            application_name=Subquery(applications.values("name")[:1]),
            is_connected=Exists(live),
            waiting=Count("letters"),
        )

    @admin.action(description="Give the selected names free", permissions=["give_free"])
    def give_free(self, request: HttpRequest, queryset: QuerySet[HubClient]) -> None:
        freed = services.give_names_free(queryset.values_list("pk", flat=True))
        words = "Whichever application connects next under such a name gets it, and the letters that wait for it."
        messages.success(request, f"{freed} name{'' if freed == 1 else 's'} given free. {words}")

    def has_give_free_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("connections.change_hubclient")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("connections.delete_hubclient")

    def get_deleted_objects(
        self, objs: Iterable[HubClient], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the clients that are to be forgotten, not each letter; who is connected stands in the way."""
        clients = list(objs)
        shown = [f"{client}, waiting letters: {self.shown_waiting(client)}" for client in clients]
        connected = [f"{client}, which is connected" for client in clients if self._is_connected(client)]
        return shown, {"hub clients": len(clients)}, set(), connected

    def delete_model(self, request: HttpRequest, obj: HubClient) -> None:
        services.forget_clients([obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[HubClient]) -> None:
        services.forget_clients(queryset.values_list("pk", flat=True))

    @admin.display(description="application", ordering="application_name")
    def shown_application(self, client: HubClient) -> str:
        return getattr(client, "application_name", None) or ""

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, client: HubClient) -> str:
        return "connected" if self._is_connected(client) else "away"

    @admin.display(description="waiting letters", ordering="waiting")
    def shown_waiting(self, client: HubClient) -> int:
        return getattr(client, "waiting", 0)

    @admin.display(description="last seen", ordering="last_seen")
    def shown_seen(self, client: HubClient) -> SafeString:
        return _time(client.last_seen)

    def _is_connected(self, client: HubClient) -> bool:
        return bool(client.connection and getattr(client, "is_connected", False))


def _time(time: datetime) -> SafeString:
    return format_html('<span class="whitespace-nowrap">{}</span>', timezone.localtime(time).strftime("%m-%d %H:%M:%S"))


admin.site.register(Application, ApplicationAdmin)
admin.site.register(AccessToken, AccessTokenAdmin)


def _count(found: Sequence[object], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"
