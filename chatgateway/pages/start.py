"""The start page: what this is, how it is, and where to go from here."""

from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chatgateway.dashboard.status import Status, read_status
from chatgateway.health import can_answer, database_state, layer_state
from chatgateway.pages.panels import panels
from chatgateway.routing import gateway
from conversations.responders.base import PipelineConfig

log = structlog.get_logger(__name__)

LISTED = 50  # pipelines that are listed


class Wire(msgspec.Struct, frozen=True):
    """A wire in one line; `address` is the first of its ways, as one would type it."""

    key: str
    name: str
    about: str
    method: str
    address: str


class Figure(msgspec.Struct, frozen=True):
    """A number, or a word, with its name; `mood` is good, bad or nothing."""

    title: str
    value: str
    mood: str = ""
    note: str = ""


@require_safe
@never_cache
async def start(request: HttpRequest) -> HttpResponse:
    """Show the page; how the parts are is for staff, and for everybody in open mode."""
    is_open = settings.ACCESS_MODE == "open"
    is_inside = is_open or await is_staff(request)
    database = await database_state()
    pipelines = [pipeline for pipeline in gateway.catalogue.all() if is_open or pipeline.public]
    context = {
        "is_inside": is_inside,
        "is_serving": database == "ok" and can_answer(),
        "figures": await _figures(database) if is_inside else [],
        "read_at": timezone.now(),
        "pipelines": pipelines[:LISTED],
        "more": max(0, len(pipelines) - LISTED),
        "wires": _wires(base_of(request), gateway.catalogue.all() if is_inside else pipelines),
    }
    return render(request, "pages/start.html", context)


async def is_staff(request: HttpRequest) -> bool:
    """Tell whether a member of staff is logged in; nobody is where the database cannot say."""
    try:
        user: Any = await request.auser()
    except Error:
        log.warning("page.visitor_unknown", exc_info=True)
        return False
    return bool(user.is_staff)


def base_of(request: HttpRequest) -> str:
    """Return where this gateway is for whoever asks: scheme, host and port."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


async def _figures(database: str) -> list[Figure]:
    is_open = settings.ACCESS_MODE == "open"
    parts = [
        Figure(gettext("Access"), gettext("open") if is_open else gettext("by token"), note=_who_may(is_open=is_open)),
        _part(gettext("Database"), database, connection.display_name),
        _part(
            gettext("Channel layer"),
            await layer_state(),
            "Redis" if settings.REDIS_URL else gettext("in this process"),
        ),
    ]
    status = await _status() if database == "ok" else None
    if status is None:
        return parts
    workers = sum(one.worker.ended_at is None for one in status.workers)
    return [
        *parts,
        Figure(
            gettext("Live connections"),
            f"{status.connections:,}",
            note=gettext("workers: {count}").format(count=workers),
        ),
        Figure(gettext("Messages a minute"), f"{status.messages_last_minute:,}"),
        Figure(gettext("Pipelines"), f"{len(gateway.catalogue.all()):,}"),
    ]


def _who_may(*, is_open: bool) -> str:
    return gettext("for trials only") if is_open else gettext("visitors: public pipelines")


def _part(title: str, state: str, kind: str) -> Figure:
    """Return how a part is; `state` is "ok" or the name of what is wrong."""
    if state == "ok":
        return Figure(title, gettext("works"), "good", kind)
    return Figure(title, gettext("unavailable"), "bad", state)


async def _status() -> Status | None:
    """Return the dashboard's numbers; None where the database went away since it was asked."""
    try:
        return await gateway.store.read(read_status)
    except Exception:
        log.warning("page.status_unknown", exc_info=True)
        return None


def _wires(base: str, pipelines: list[PipelineConfig]) -> list[Wire]:
    """Return every wire; its address names a pipeline where whoever asks may know one."""
    default = UUID(settings.DEFAULT_PIPELINE)
    known = sorted(pipelines, key=lambda pipeline: pipeline.uuid != default)
    pipeline = str(known[0].uuid) if known else "<pipeline>"
    wires = []
    for key, panel in panels().items():
        way = panel.ways[0]
        origin = base.replace("http", "ws", 1) if way.method == "WS" else base
        address = origin + way.path.replace("{pipeline}", pipeline)
        wires.append(Wire(key, gettext(panel.name), gettext(panel.about), way.method, address))
    return wires
