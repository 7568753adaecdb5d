"""The description of the sockets, as YAML or JSON."""

import asyncio
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from chatgateway.asyncapi.channels import describe
from chatgateway.asyncapi.writing import CONTENT_TYPES, write


@cache
def written(form: str) -> str:
    """Return the document in a form; it is the same for as long as the process lives."""
    return write(describe(str(settings.SPECTACULAR_SETTINGS["VERSION"])), form)


@require_safe
async def asyncapi(request: HttpRequest) -> HttpResponse:
    """Return the document."""
    form = request.GET.get("format", "yaml")
    if form not in CONTENT_TYPES:
        return HttpResponse("format must be yaml or json\n", status=400, content_type="text/plain; charset=utf-8")
    # The first time takes a while, and others talk meanwhile.
    return HttpResponse(await asyncio.to_thread(written, form), content_type=CONTENT_TYPES[form])
