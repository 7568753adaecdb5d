"""Filters of the Sessions page; the choices are fixed, so no table is walked to find them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from conversations.models import Feedback

WIRES = {
    "langbot": "Pipeline",
    "postoffice": "PostOffice",
    "contact": "Blog contact",
    "yishiting": "易事厅",
    "wechat": "WeChat",
}


class WireFilter(admin.SimpleListFilter):
    """By wire."""

    title = "wire"
    parameter_name = "wire"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WIRES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(wire=self.value()) if self.value() else queryset


class LanguageFilter(admin.SimpleListFilter):
    """By the session's language."""

    title = "language"
    parameter_name = "language"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("zh-hans", "中文"), ("en", "English")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(language=self.value()) if self.value() else queryset


class FeedbackFilter(admin.SimpleListFilter):
    """By what the visitor thinks of an answer in it."""

    title = "feedback"
    parameter_name = "feedback"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("down", "Not helpful"), ("up", "Helpful"), ("any", "Either")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        given = Feedback.objects.filter(session=OuterRef("pk"))
        return queryset.filter(Exists(given if self.value() == "any" else given.filter(value=self.value())))


# What is asked of a column by its filter or by a link of ours.
_LOOKUPS = ("exact", "id__exact", "in", "isnull", "gte", "lt")


def is_filter(lookup: str, list_filter: Iterable[Any]) -> bool:
    """Tell whether one of a list's filters asks for `lookup`."""
    asked: set[str] = set()
    for item in list_filter:
        asked |= {f"{item}__{one}" for one in _LOOKUPS} if isinstance(item, str) else {item.parameter_name}
    return lookup in asked


def uuid_of(text: str) -> UUID | None:
    """Return `text` as a UUID, None where it is none."""
    # Digits alone are a primary key, although UUID() would take 32 of them.
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
