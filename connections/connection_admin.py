"""Staff's pages for the connections: who is here, and who was."""

from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.db.models import CharField, Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from connections.cells import in_full, moment, size, two_lines
from connections.closing_admin import close
from connections.filters import ConnectionStateFilter, PipelineFilter, WireFilter, WorkerFilter, uuid_of
from connections.forms import WIRES
from connections.models import Application, Connection, Worker
from connections.staff import STATES, ReadOnlyAdmin, pipeline_name

HUB = "postoffice"


class ConnectionAdmin(ReadOnlyAdmin):
    """Live connections, or those that ended, with how they did."""

    class Media:
        css = {"all": ("connections/lists.css",)}

    change_list_template = "admin/connections/connection/change_list.html"
    # Two lines a cell: all of it fits 1280 pixels.
    list_display = (
        "shown_how", "shown_client", "shown_way", "shown_session", "shown_peer", "shown_times", "shown_traffic",
    )  # fmt: skip
    list_fullwidth = True
    list_display_links = ("shown_client",)
    actions = ("close_selected",)
    list_filter = (ConnectionStateFilter, WireFilter, PipelineFilter, WorkerFilter)
    search_fields = ("client", "address")
    search_help_text = "A connection's or session's UUID, a client, or an address"
    ordering = ("-connected_at",)
    fieldsets = (
        (None, {"fields": (
            ("uuid", "shown_state"), ("client", "shown_application"), ("shown_wire", "shown_pipeline"),
            ("session_type", "shown_session"), ("address", "shown_worker"), "user_agent",
        )}),
        ("Activity", {"fields": (
            ("connected_at", "last_active"), ("messages_in", "messages_out"), ("bytes_in", "bytes_out"),
            ("ended_at", "close_code"), "close_reason",
        )}),
    )  # fmt: skip
    readonly_fields = (
        "shown_state", "shown_application", "shown_wire", "shown_pipeline", "shown_session", "shown_worker",
    )  # fmt: skip

    # --- Rows ------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        found: QuerySet[Connection] = super().get_queryset(request)
        workers = Worker.objects.filter(uuid=OuterRef("worker")).annotate(
            label=Concat("host", Value(":"), Cast("pid", CharField()))
        )
        applications = Application.objects.filter(uuid=OuterRef("application"))
        # The other app's table, asked by name: the two do not know each other.
        sessions = apps.get_model("conversations", "ChatSession").objects.filter(uuid=OuterRef("session"))
        return found.annotate(
            pipeline_name=pipeline_name(),
            worker_label=Subquery(workers.values("label")[:1]),
            application_name=Subquery(applications.values("name")[:1]),
            has_transcript=Exists(sessions),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        uuid = uuid_of(search_term.strip())
        if uuid is not None:
            # A connection is found whatever its state and its age.
            one = self.get_queryset(request).filter(uuid=uuid)
            return (one if one.exists() else queryset.filter(session=uuid)), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found

    # --- Closing ---------------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        return found if request.user.has_perm("connections.change_connection") else {}

    @admin.action(description="Close the selected connections")
    def close_selected(self, request: HttpRequest, chosen: QuerySet[Connection]) -> HttpResponse | None:
        """Ask how, then have the live ones among them closed."""
        live = list(chosen.filter(ended_at=None).values_list("uuid", flat=True))
        return close(self, request, {None: live} if live else {}, back=request.get_full_path())

    # --- Cells -----------------------------------------------------------------------------------

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, connection: Connection) -> str:
        return "live" if connection.ended_at is None else "ended"

    @admin.display(description="state")
    def shown_how(self, connection: Connection) -> SafeString:
        """Live and where, or when and how it ended."""
        worker = self.shown_worker(connection)
        if connection.ended_at is None:
            return two_lines(format_html('<span class="is-live">{}</span>', "live"), worker, title=f"live on {worker}")
        how = f"{connection.close_code or ''} {connection.close_reason}".strip()
        return two_lines(moment(connection.ended_at), how, title=f"ended on {worker}: {how}")

    @admin.display(description="client or visitor", ordering="client")
    def shown_client(self, connection: Connection) -> SafeString:
        name = connection.client or self.shown_application(connection)
        return two_lines(name, f"{str(connection.uuid)[:8]}…", title=f"{name} {connection.uuid}".strip())

    @admin.display(description="application")
    def shown_application(self, connection: Connection) -> str:
        return getattr(connection, "application_name", None) or ""

    @admin.display(description="wire", ordering="wire")
    def shown_wire(self, connection: Connection) -> str:
        return WIRES.get(connection.wire, connection.wire)

    @admin.display(description="pipeline")
    def shown_pipeline(self, connection: Connection) -> str:
        return getattr(connection, "pipeline_name", None) or ""

    @admin.display(description="wire, pipeline", ordering="wire")
    def shown_way(self, connection: Connection) -> SafeString:
        return two_lines(self.shown_wire(connection), self.shown_pipeline(connection))

    @admin.display(description="session")
    def shown_session(self, connection: Connection) -> SafeString | str:
        if connection.wire == HUB:
            # A hub client has as many sessions as it began conversations; they bear its name.
            url = f"{reverse('admin:conversations_chatsession_changelist')}?{urlencode({'q': connection.client})}"
            return format_html('<a class="text-link" href="{}">sessions</a>', url)
        if connection.session is None:
            return ""
        shown = f"{str(connection.session)[:8]}…"
        if not getattr(connection, "has_transcript", False):
            return format_html('<span title="{}: nothing was said yet">{}</span>', connection.session, shown)
        url = reverse("admin:conversations_chatsession_change", args=[connection.session])
        return format_html(
            '<a class="text-link" href="{}" title="{}, its transcript">{}</a>', url, connection.session, shown
        )

    @admin.display(description="address, user agent", ordering="address")
    def shown_peer(self, connection: Connection) -> SafeString:
        title = f"{connection.address} {connection.user_agent}"
        return two_lines(connection.address, connection.user_agent, title=title)

    @admin.display(description="worker")
    def shown_worker(self, connection: Connection) -> str:
        return getattr(connection, "worker_label", None) or ""

    @admin.display(description="connected, active", ordering="last_active")
    def shown_times(self, connection: Connection) -> SafeString:
        title = f"connected {in_full(connection.connected_at)}, last active {in_full(connection.last_active)}"
        return two_lines(moment(connection.connected_at), moment(connection.last_active), title=title)

    @admin.display(description="in / out", ordering="messages_in")
    def shown_traffic(self, connection: Connection) -> SafeString:
        messages = f"{connection.messages_in:,} / {connection.messages_out:,}"
        amounts = f"{size(connection.bytes_in)} / {size(connection.bytes_out)}"
        return two_lines(messages, amounts, title=f"messages in / out {messages}, bytes in / out {amounts}")
