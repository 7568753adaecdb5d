"""The playground: every wire in the browser, frame by frame."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chatgateway.pages.panels import panels
from chatgateway.pages.start import is_staff
from chatgateway.pages.strings import playground_strings
from chatgateway.routing import gateway
from integrations import examples
from integrations.capabilities import CAPABILITIES
from integrations.examples import Example
from integrations.playground import Expect, Panel, Step, Way

PIPELINES = 200  # that can be chosen from
_PIPELINE = "${pipeline}"  # what stands for the chosen one
CAN = {
    "stream": _("streaming"),
    "resume": _("resume"),
    "push": _("push"),
    "groups": _("groups"),
    "broadcast": _("broadcast"),
    "files": _("files"),
    "retract": _("retract"),
}


@require_safe
@never_cache
async def playground(request: HttpRequest) -> HttpResponseBase:
    """Show the page to staff, and to everybody in open mode."""
    is_open = settings.ACCESS_MODE == "open"
    if not is_open and not await is_staff(request):
        return redirect_to_login(request.get_full_path())
    await gateway.ready()
    return _page(request, is_open=is_open)


def _page(request: HttpRequest, *, is_open: bool) -> HttpResponse:
    known = panels()
    context = {
        "is_open": is_open,
        "panels": [_shown(wire, panel) for wire, panel in known.items()],
        "pipelines": gateway.catalogue.all()[:PIPELINES],
        "default_pipeline": settings.DEFAULT_PIPELINE,
        "data": [_data(wire, panel) for wire, panel in known.items()],
        "strings": playground_strings(),
    }
    return render(request, "pages/playground.html", context)


def _shown(wire: str, panel: Panel) -> dict[str, Any]:
    """Return what the template shows of a wire."""
    capabilities = msgspec.structs.asdict(CAPABILITIES[wire])
    return {
        "wire": wire,
        "name": gettext(panel.name),
        "about": gettext(panel.about),
        "note": _translated(panel.note),
        "document": panel.document,
        "ways": panel.ways,
        "capabilities": [gettext(CAN[name]) for name, can in capabilities.items() if can],
    }


def _data(wire: str, panel: Panel) -> dict[str, Any]:
    """Return what the page's modules need of a wire."""
    said = [example for example in examples.load(wire) if example.direction == "client"]
    claimed = {name for way in panel.ways if way.method != "WS" for name in way.examples}
    ways = [{**_way(way), "bodies": _bodies(way, said, claimed)} for way in panel.ways]
    steps = [_step(step) for step in panel.steps]
    return {"wire": wire, "ways": ways, "steps": steps, "names_pipeline": _PIPELINE in json.dumps([ways, steps])}


def _way(way: Way) -> dict[str, Any]:
    fields = [{**msgspec.to_builtins(field), "without": _translated(field.without)} for field in way.fields]
    return {**msgspec.to_builtins(way), "fields": fields}


def _step(step: Step) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(step)
    if isinstance(step, Expect) and step.unless:
        built["unless"]["words"] = gettext(step.unless.words)
    return built


def _translated(words: str) -> str:
    return gettext(words) if words else ""  # of nothing, gettext tells about the translations


def _bodies(way: Way, said: Sequence[Example], claimed: set[str]) -> list[dict[str, str]]:
    """Return what can be sent there: a call's own examples, a socket's all others, those that it names first."""
    named = [example for name in way.examples for example in said if example.name == name]
    others = [example for example in said if example not in named and example.name not in claimed]
    chosen = [*named, *others] if way.method == "WS" else named
    own = [{"name": way.name, "text": way.body}] if way.body else []
    return own + [{"name": example.name, "text": example.text} for example in chosen]
