"""The chat in other people's pages: the script that they load, and what it is told. Served by the lean chain."""

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpResponse, HttpResponseNotModified
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chatgateway.compression import compress
from chatgateway.pages.language import ARGUMENT, language_of
from chatgateway.pages.strings import chat_strings
from chatgateway.pages.views import chat_config, may_be_visited
from conversations.responders.base import PipelineConfig
from conversations.turns import PipelineMissing
from integrations.errors import WireError
from integrations.limiting import admit_call
from integrations.peers import Peer
from integrations.rest import PIPELINE_UUID, Failure, WireView, operation, refusals, success

LOADER = "chatgateway/chat/loader.js"
SCRIPT = "text/javascript"
# A day, and a week more while a newer one is fetched: the pages that load it are not ours to change.
KEPT = "public, max-age=86400, stale-while-revalidate=604800"
LANGUAGE = OpenApiParameter(ARGUMENT, OpenApiTypes.STR, description="`zh-hans` or `en`; else the browser's.")


class WidgetConfig(serializers.Serializer[Any]):
    """What the widget is told."""

    pipeline = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    language = serializers.ChoiceField(("zh-hans", "en"))
    max_upload_bytes = serializers.IntegerField(help_text="How large a file may be.")
    assets = serializers.CharField(help_text="The version of the widget's files, in their paths.")
    strings = serializers.DictField(child=serializers.CharField())
    panel = serializers.CharField(help_text="The conversation's markup, without anything said.")


class WidgetView(WireView):
    """The script that a page loads to show the chat."""

    @extend_schema(
        operation_id="get_widget",
        summary="The script that shows the chat in a page",
        parameters=[PIPELINE_UUID],
        responses={(200, SCRIPT): OpenApiTypes.STR, **refusals(Failure)},
        tags=["chat"],
    )
    async def get(self, request: Request, pipeline_uuid: str) -> HttpResponse:
        """Return the loader, which is the same for every pipeline."""
        source, tag = _loader()
        if tag in parse_etags(request.headers.get("If-None-Match", "")):
            response: HttpResponse = HttpResponseNotModified()
        else:
            script = HttpResponse(source, content_type=f"{SCRIPT}; charset=utf-8")
            response = compress(request._request, script)  # noqa: SLF001  DRF's own name for Django's
        response["ETag"] = tag
        patch_vary_headers(response, ["Accept-Encoding"])  # an answer of 304 says what the 200 said
        response["Cache-Control"] = KEPT
        return response


class WidgetConfigView(WireView):
    """What the widget needs to know."""

    @operation(
        "get_widget_config",
        "What the widget shows, for a page that may have it",
        WidgetConfig,
        parameters=[PIPELINE_UUID, LANGUAGE],
        tags=["chat"],
    )
    async def get(self, request: Request, pipeline_uuid: str) -> Response:
        """Return the pipeline's name and the widget's words, to a page of an allowed origin."""
        await self.parts.ready()
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]
        await admit_call(self.parts, peer)
        if not self._origin_allowed(peer, None):
            raise WireError("Origin not allowed", status=403)
        pipeline = await self.parts.catalogue.find(pipeline_uuid)
        if pipeline is None or not may_be_visited(pipeline):
            raise PipelineMissing
        with translation.override(language_of(request._request)):  # noqa: SLF001  as above
            answer = success(_widget_config(pipeline))
        answer.add_post_render_callback(partial(compress, request._request))  # noqa: SLF001  as above
        return answer


def _widget_config(pipeline: PipelineConfig) -> dict[str, Any]:
    """Return what the widget is told, in the language that is active; its markup is that of the chat's page."""
    strings = chat_strings()
    panel = render_to_string("pages/panel.html", {"pipeline": pipeline, "strings": strings, "level": 2})
    return {**chat_config(pipeline), "assets": settings.ASSETS_VERSION, "strings": strings, "panel": panel}


@cache
def _loader() -> tuple[bytes, str]:
    """Return the script and its tag."""
    source = Path(finders.find(LOADER) or "").read_bytes()
    return source, f'W/"{hashlib.sha256(source).hexdigest()[:32]}"'  # weak: compressed it is the same
