"""Staff's pages for who is here."""

from collections.abc import Iterable

from django.contrib import admin, messages
from django.db.models import Count, Exists, Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.decorators import display

from connections import services
from connections.application_admin import AccessTokenAdmin, ApplicationAdmin
from connections.audit_admin import AuditEntryAdmin
from connections.cells import moment
from connections.connection_admin import ConnectionAdmin
from connections.filters import StateFilter
from connections.models import AccessToken, Application, AuditEntry, Connection, HubClient, Worker
from connections.staff import STATES, ReadOnlyAdmin, actor


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "shown_state", "heartbeats", "started_at", "ended_at", "uuid")
    list_filter = (StateFilter,)
    search_fields = ("host",)
    ordering = ("-started_at",)
    fields = (("host", "pid"), ("shown_state", "heartbeats"), ("started_at", "ended_at"), "uuid")
    readonly_fields = ("shown_state", "heartbeats")

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, worker: Worker) -> str:
        return "live" if worker.ended_at is None else "ended"

    @admin.display(description="heartbeats", ordering="beat")
    def heartbeats(self, worker: Worker) -> int:
        return worker.beat


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
        freed = services.give_names_free(queryset.values_list("pk", flat=True), by=actor(request))
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
        services.forget_clients([obj.pk], by=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[HubClient]) -> None:
        services.forget_clients(queryset.values_list("pk", flat=True), by=actor(request))

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
    def shown_seen(self, client: HubClient) -> str:
        return moment(client.last_seen)

    def _is_connected(self, client: HubClient) -> bool:
        return bool(client.connection and getattr(client, "is_connected", False))


admin.site.register(Connection, ConnectionAdmin)
admin.site.register(Application, ApplicationAdmin)
admin.site.register(AccessToken, AccessTokenAdmin)
admin.site.register(AuditEntry, AuditEntryAdmin)
