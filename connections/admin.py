"""Staff's pages for who may be and who is here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.db.models import CharField, Count, Exists, F, Model, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from connections import services
from connections.filters import PipelineFilter, StateFilter, WireFilter, WorkerFilter, uuid_of
from connections.forms import WIRES, ApplicationForm, TokenForm
from connections.models import AccessToken, Application, Connection, HubClient, Worker

STATES = {
    "active": "success", "expired": "warning", "revoked": "danger", "live": "success", "ended": "default",
    "connected": "success", "away": "default",
}  # fmt: skip


class StaffAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """What our pages share: rows are found by UUID too, and counting all rows only to show the number is left out."""

    list_per_page = 50
    show_full_result_count = False
    compressed_fields = True
    list_filter_sheet = False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        uuid = uuid_of(object_id)
        if uuid is not None and any(field.name == "uuid" for field in self.model._meta.fields):
            rows: QuerySet[Any] = self.get_queryset(request)
            return rows.filter(uuid=uuid).first()
        found: Model | None = super().get_object(request, object_id, from_field)
        return found


class ReadOnlyAdmin(StaffAdmin):
    """Rows that the gateway alone writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def token_state(token: AccessToken) -> str:
    """Tell whether a token is active, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= timezone.now():
        return "expired"
    return "active"


class TokenInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    model = AccessToken
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True
    verbose_name_plural = "tokens"
    fields = readonly_fields = ("shown_scopes", "shown_state", "created_at", "expires_at")

    @admin.display(description="scopes")
    def shown_scopes(self, token: AccessToken) -> str:
        return ", ".join(token.scopes)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, token: AccessToken) -> str:
        return token_state(token)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Application)
class ApplicationAdmin(StaffAdmin):
    change_form_after_template = "admin/signing_key.html"
    form = ApplicationForm
    list_display = ("name", "appid", "shown_pipeline", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "appid")
    readonly_fields = ("appid", "uuid", "created_at")
    actions_detail = ("issue_token",)
    fieldsets = (
        (None, {"fields": (("name", "pipeline"), "enabled", "origins")}),
        ("Where its tokens work", {"fields": ("wires", "client_prefixes")}),
        ("Callbacks", {"fields": ("callback_url",)}),
        ("Identity", {"fields": (("appid", "uuid"), "created_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Application]:
        found: QuerySet[Application] = super().get_queryset(request)
        return found.defer("secret_hash").annotate(pipeline_name=_pipeline_name())

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:3]

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Sequence[Any]:
        return (TokenInline,) if obj else ()

    @admin.display(description="pipeline")
    def shown_pipeline(self, application: Application) -> str:
        return getattr(application, "pipeline_name", None) or ("any" if application.pipeline is None else "gone")

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
        else:
            # Shown by response_add, in this same request; it goes nowhere else.
            vars(request)["plain_secret"] = services.register(obj)

    def response_add(
        self, request: HttpRequest, obj: Application, post_url_continue: str | None = None
    ) -> HttpResponse:
        secrets = [("appid", obj.appid), ("secret", vars(request)["plain_secret"])]
        return self._shown_once(request, obj, f"Application “{obj.name}” created", secrets)

    @action(description="Issue a token", icon="key", permissions=["issue_token"], url_path="issue-token")  # type: ignore[untyped-decorator]
    def issue_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        application = self.get_object(request, object_id)
        if not isinstance(application, Application):
            raise Http404
        form = TokenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            token, plain = services.issue_token(
                application, form.chosen_scopes(), label=form.cleaned_data["label"], ttl=form.ttl()
            )
            self.log_change(request, application, f"Issued token {token.pk}.")
            return self._shown_once(request, application, "Token issued", [("token", plain)])
        context = {**self._context(request, application), "title": f"Issue a token to {application}", "form": form}
        return TemplateResponse(request, "admin/connections/application/issue_token.html", context)

    def has_issue_token_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("connections.add_accesstoken")

    def _shown_once(
        self, request: HttpRequest, application: Application, title: str, secrets: list[tuple[str, str]]
    ) -> HttpResponse:
        context = {**self._context(request, application), "title": title, "secrets": secrets}
        # Like every page of the admin it says no-store, so no browser keeps it.
        return TemplateResponse(request, "admin/connections/application/shown_once.html", context)

    def _context(self, request: HttpRequest, application: Application) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.model._meta, "original": application}


@admin.register(AccessToken)
class AccessTokenAdmin(StaffAdmin):
    """Tokens, issued on their application's page and revoked here."""

    list_display = ("__str__", "application", "shown_scopes", "shown_state", "created_at", "expires_at")
    list_filter = ("application",)
    list_select_related = ("application",)
    search_fields = ("label", "application__name")
    fields = (("label", "application"), ("shown_scopes", "shown_state"), ("created_at", "expires_at", "revoked_at"))
    readonly_fields = ("application", "shown_scopes", "shown_state", "created_at", "expires_at", "revoked_at")
    actions = ("revoke_selected",)
    actions_submit_line = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessToken]:
        found: QuerySet[AccessToken] = super().get_queryset(request)
        return found.defer("digest")

    @admin.display(description="scopes")
    def shown_scopes(self, token: AccessToken) -> str:
        return ", ".join(token.scopes)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, token: AccessToken) -> str:
        return token_state(token)

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        revoked = services.revoke_tokens(queryset.values_list("pk", flat=True))
        messages.success(request, f"{revoked} token{'' if revoked == 1 else 's'} revoked.")

    @action(description="Revoke", permissions=["change"])  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, token: AccessToken) -> None:
        services.revoke_token(token)
        messages.success(request, "The token is revoked; open sockets that use it close within seconds.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    list_display = (
        "shown_uuid", "shown_state", "shown_wire", "shown_pipeline", "session_type", "shown_session", "address",
        "shown_messages", "shown_connected", "shown_active", "shown_worker",
    )  # fmt: skip
    list_fullwidth = True
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
        return found.annotate(pipeline_name=_pipeline_name(), worker_label=Subquery(workers.values("label")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        uuid = uuid_of(search_term.strip())
        if uuid is not None:
            return queryset.filter(uuid=uuid) | queryset.filter(session=uuid), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found

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

    def get_queryset(self, request: HttpRequest) -> QuerySet[HubClient]:
        found: QuerySet[HubClient] = super().get_queryset(request)
        applications = Application.objects.filter(uuid=OuterRef("application"))
        live = Worker.objects.filter(uuid=OuterRef("worker"), ended_at=None)
        return found.annotate(
            application_name=Subquery(applications.values("name")[:1]),
            is_connected=Exists(live),
            waiting=Count("letters"),
        )

    @admin.display(description="application", ordering="application_name")
    def shown_application(self, client: HubClient) -> str:
        return getattr(client, "application_name", None) or ""

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, client: HubClient) -> str:
        return "connected" if client.connection and getattr(client, "is_connected", False) else "away"

    @admin.display(description="waiting letters", ordering="waiting")
    def shown_waiting(self, client: HubClient) -> int:
        return getattr(client, "waiting", 0)

    @admin.display(description="last seen", ordering="last_seen")
    def shown_seen(self, client: HubClient) -> SafeString:
        return _time(client.last_seen)


def _pipeline_name() -> Subquery:
    # The other app's table, asked by name: the two do not know each other.
    pipelines = apps.get_model("conversations", "Pipeline").objects.filter(uuid=OuterRef("pipeline"))
    return Subquery(pipelines.values("name")[:1])


def _time(time: datetime) -> SafeString:
    return format_html('<span class="whitespace-nowrap">{}</span>', timezone.localtime(time).strftime("%m-%d %H:%M:%S"))
