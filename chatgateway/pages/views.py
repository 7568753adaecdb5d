"""The pages that visitors see."""

from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from chatgateway.pages.strings import chat_strings
from conversations import selectors
from conversations.responders.base import PipelineConfig


def may_be_visited(pipeline: PipelineConfig | None) -> bool:
    """Tell whether whoever comes along may talk with a pipeline."""
    return pipeline is not None and (settings.ACCESS_MODE == "open" or pipeline.public)


def chat_config(pipeline: PipelineConfig) -> dict[str, str | int]:
    """Return what the chat's modules are told; where this server is they know themselves."""
    return {
        "pipeline": str(pipeline.uuid),
        "name": pipeline.name,
        "description": pipeline.description,
        "language": get_language() or "en",
        "max_upload_bytes": settings.MAX_UPLOAD_BYTES,
    }


@require_safe
def chat(request: HttpRequest, pipeline_uuid: UUID) -> HttpResponse:
    """Show the web chat of a pipeline that visitors may talk with."""
    pipeline = selectors.pipeline_configs().get(pipeline_uuid)
    if pipeline is None or not may_be_visited(pipeline):
        raise Http404
    context = {"pipeline": pipeline, "config": chat_config(pipeline), "strings": chat_strings()}
    return render(request, "pages/chat.html", context)
