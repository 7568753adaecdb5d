"""Staff's page of the audit trail, to read."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from connections.audit import Action
from connections.models import AuditEntry
from connections.staff import ReadOnlyAdmin


class ActionFilter(admin.SimpleListFilter):
    """By what was done."""

    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action.value, action.value.capitalize()) for action in Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what to what; nobody changes it."""

    list_display = ("shown_time", "shown_action", "actor", "subject", "details")
    list_display_links = ("shown_time",)
    list_fullwidth = True
    list_filter = (ActionFilter, "at")
    search_fields = ("actor", "subject")
    search_help_text = "Who did it, or a part of what it was done to"
    ordering = ("-at", "-id")
    fields = (("at", "action"), ("actor", "user"), "subject", "details")

    @admin.display(description="time", ordering="at")
    def shown_time(self, entry: AuditEntry) -> SafeString:
        time = timezone.localtime(entry.at).strftime("%Y-%m-%d %H:%M:%S")
        return format_html('<span class="whitespace-nowrap">{}</span>', time)

    @admin.display(description="action", ordering="action")
    def shown_action(self, entry: AuditEntry) -> str:
        return entry.action.capitalize()
