"""What staff's pages of this app share."""

from datetime import datetime
from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin

from conversations.filters import is_filter, uuid_of


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
        if uuid is None:
            found: Model | None = super().get_object(request, object_id, from_field)
            return found
        rows: QuerySet[Any] = self.get_queryset(request)
        return rows.filter(uuid=uuid).first()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        uuid = uuid_of(search_term.strip())
        if uuid is not None:
            return queryset.filter(uuid=uuid), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, search_term)
        return found


def may_read(request: HttpRequest) -> bool:
    """Tell whether whoever asks may read what is said; who may not sees that and when, not what."""
    return request.user.has_perm("conversations.view_message")


def moment(time: datetime) -> SafeString:
    """Return a time as lists show it."""
    return format_html('<span class="whitespace-nowrap">{}</span>', localtime(time).strftime("%Y-%m-%d %H:%M"))


def link(url: str, text: str) -> SafeString:
    """Return a link."""
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)
