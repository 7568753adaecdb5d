"""The admin's first page: how the gateway is, in tiles and charts that keep themselves up to date."""

from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import urlencode

import msgspec
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from chatgateway.dashboard.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, seconds
from chatgateway.dashboard.pictures import pictures
from chatgateway.dashboard.status import Latency, Share, Span, Status, WorkerStatus, read_history, read_status
from chatgateway.roles import may_work_at_the_desk

# Whoever may see these models' rows may see their numbers.
CONNECTIONS = "connections.view_connection"
CONVERSATIONS = "conversations.view_chatsession"
REQUESTS = "conversations.view_contactrequest"
MAILBOXES = "connections.view_hubclient"
WORKERS = "connections.view_worker"


class Tile(msgspec.Struct, frozen=True):
    """A number with its name; `url` leads to what was counted, and is empty for those who may not go there."""

    title: str
    value: str
    note: str
    icon: str
    url: str = ""
    is_urgent: bool = False


class Bar(msgspec.Struct, frozen=True):
    """A share of the live connections, as `percent` of the largest."""

    share: Share
    percent: int
    url: str


def dashboard_callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard to the context of the admin's first page."""
    return {**context, **_dashboard(request)}


@require_safe
def fragment(request: HttpRequest) -> HttpResponse:
    """Answer with the part of the page that changes."""
    return render(request, "dashboard/dashboard.html", _dashboard(request))


view = admin.site.admin_view(fragment)


def _dashboard(request: HttpRequest) -> dict[str, Any]:
    span: Span = "day" if request.GET.get("span") == "day" else "hour"
    status = read_status()
    links = _Links(request)
    may = request.user.has_perm
    return {
        "status": status,
        "tiles": _tiles(status, links, may),
        "shows_connections": may(CONNECTIONS),
        "by_wire": _bars(status.by_wire, "wire", links),
        "by_pipeline": _bars(status.by_pipeline, "pipeline", links),
        "shows_workers": may(WORKERS),
        "workers": [(one, _worker_url(one, links)) for one in status.workers],
        "workers_url": links.list("connections", "worker", state="all"),
        "span": span,
        "spans": get_args(Span),
        "charts": _charts(span, may),
        "frame": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP,
                  "floor": HEIGHT - BOTTOM, "words": HEIGHT - 6},
        "desk_url": links.desk,
    }  # fmt: skip


class _Links:
    """The pages that a member of staff may go to; empty where he may not."""

    def __init__(self, request: HttpRequest) -> None:
        self._user = request.user
        self.desk = f"{reverse('desk:desk')}?which=waiting" if may_work_at_the_desk(request) else ""

    def list(self, app: str, model: str, **chosen: str) -> str:
        """Return the list of a model's rows, those that are `chosen`."""
        if not self._user.has_perm(f"{app}.view_{model}"):
            return ""
        query = f"?{urlencode(chosen)}" if chosen else ""
        return reverse(f"admin:{app}_{model}_changelist") + query


def _tiles(status: Status, links: _Links, may: Callable[[str], bool]) -> list[Tile]:
    work, mail, errors = status.work, status.mailboxes, status.errors_last_hour
    live = sum(one.worker.ended_at is None for one in status.workers)
    sessions = links.list("conversations", "chatsession")
    requests = links.list("conversations", "contactrequest", state__in="received,notified")
    letters = f"{mail.letters:,} {_many(mail.letters, 'letter')}"
    tiles = {
        CONNECTIONS: [
            Tile("Connections", f"{status.connections:,}", f"on {live:,} {_many(live, 'worker')}", "sensors",
                 links.list("connections", "connection")),
        ],
        CONVERSATIONS: [
            Tile("Messages a minute", f"{status.messages_last_minute:,}",
                 f"{status.messages_this_minute:,} so far in this one", "forum", sessions),
            Tile("Turns in flight", f"{work.running_turns:,}", f"{work.queued_turns:,} queued", "sync", sessions),
            _latency("First words", status.first_words, "bolt", "#chart-first-words"),
            _latency("Whole answer", status.whole_answers, "timer", "#chart-whole-answers"),
            Tile("Errors", f"{errors:,}", "in the last hour", "error", "#chart-errors", errors > 0),
            Tile("Waiting for a person", f"{work.waiting_sessions:,}", _many(work.waiting_sessions, "conversation"),
                 "support_agent", links.desk, work.waiting_sessions > 0),
        ],
        REQUESTS: [Tile("Contact requests", f"{work.contact_requests:,}", "without a reply", "contact_mail", requests)],
        MAILBOXES: [
            Tile("Mailboxes waiting", f"{mail.clients:,}", letters, "mail",
                 links.list("connections", "hubclient", o="-4")),
        ],
        WORKERS: [Tile("Workers", f"{live:,}", "with a lease", "memory", links.list("connections", "worker"))],
    }  # fmt: skip
    return [tile for permission, group in tiles.items() if may(permission) for tile in group]


def _charts(span: Span, may: Callable[[str], bool]) -> list[Chart]:
    drawn = pictures(span, read_history(span))
    return [chart for chart in drawn if may(CONNECTIONS if chart.id == "connections" else CONVERSATIONS)]


def _latency(title: str, latency: Latency, icon: str, url: str) -> Tile:
    if latency.p50 is None or latency.p95 is None:
        return Tile(title, "–", "no answer in 5 minutes", icon, url)
    return Tile(title, seconds(latency.p50), f"p50 · p95 {seconds(latency.p95)}", icon, url)


def _bars(shares: list[Share], chosen: str, links: _Links) -> list[Bar]:
    largest = max((share.connections for share in shares), default=0) or 1
    return [
        Bar(share, 100 * share.connections // largest, _connections(links, chosen, share.key)) for share in shares[:8]
    ]


def _worker_url(one: WorkerStatus, links: _Links) -> str:
    return "" if one.worker.ended_at else _connections(links, "worker", str(one.worker.uuid))


def _connections(links: _Links, chosen: str, key: str) -> str:
    return links.list("connections", "connection", **{chosen: key}) if key else ""


def _many(count: int, what: str) -> str:
    return f"{what}{'' if count == 1 else 's'}"
