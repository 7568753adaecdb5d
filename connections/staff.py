"""What staff's pages of this app share."""

from typing import Any

from django.apps import apps
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from connections.audit import Actor
from connections.filters import is_filter, uuid_of

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

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Django lets guess at every column and annotation: by beginnings, what no page shows is read by and by.
        return is_filter(lookup, self.get_list_filter(request))

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


def actor(request: HttpRequest) -> Actor:
    """Return whoever asks, as the audit trail names him."""
    return Actor(request.user.get_username(), request.user.pk)


def pipeline_name() -> Subquery:
    """Return the name of a row's pipeline, for a query."""
    # The other app's table, asked by name: the two do not know each other.
    pipelines = apps.get_model("conversations", "Pipeline").objects.filter(uuid=OuterRef("pipeline"))
    return Subquery(pipelines.values("name")[:1])
