"""Filters of the Connections pages; none walks a table to find its choices."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from connections.forms import WIRES, pipeline_choices
from connections.models import Connection, Worker

HISTORY = 10_000  # newest connections that the list looks through for those that ended; an older one has its UUID


class StateFilter(admin.SimpleListFilter):
    """Live rows unless asked for others: those that ended are many."""

    title = "state"
    parameter_name = "state"
    ENDED = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.ENDED, "Ended"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        live, *others = super().choices(changelist)
        yield {**live, "display": "Live"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case self.ENDED:
                return queryset.filter(ended_at__isnull=False)
            case "all":
                return queryset
            case _:
                return queryset.filter(ended_at=None)


class ConnectionStateFilter(StateFilter):
    """Live connections unless asked for others: for those it goes back a bounded way, however long the history is."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.ENDED, f"Ended, of the newest {HISTORY:,}"), ("all", f"The newest {HISTORY:,}, live or ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = super().queryset(request, queryset)
        if self.value() is None:
            return found
        newest = Connection.objects.order_by("-connected_at").values_list("connected_at", flat=True)
        oldest = newest[HISTORY - 1 : HISTORY].first()
        return found if oldest is None else found.filter(connected_at__gte=oldest)


class WireFilter(admin.SimpleListFilter):
    """By wire."""

    title = "wire"
    parameter_name = "wire"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WIRES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(wire=self.value()) if self.value() else queryset


class PipelineFilter(admin.SimpleListFilter):
    """By pipeline."""

    title = "pipeline"
    parameter_name = "pipeline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return pipeline_choices()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(pipeline=uuid_of(self.value() or "")) if self.value() else queryset


class WorkerFilter(admin.SimpleListFilter):
    """By worker, of those that live."""

    title = "worker"
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(worker.uuid), str(worker)) for worker in Worker.objects.filter(ended_at=None)[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(worker=uuid_of(self.value() or "")) if self.value() else queryset


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
