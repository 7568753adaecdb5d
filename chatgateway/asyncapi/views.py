"""The description of the sockets, as YAML or JSON."""

import asyncio
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
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
    # A browser shows what is text, and would save the rest as "download".
    is_shown = "text/html" in request.headers.get("Accept", "")
    kind = "text/plain; charset=utf-8" if is_shown else CONTENT_TYPES[form]
    # The first time takes a while, and others talk meanwhile.
    response = HttpResponse(await asyncio.to_thread(written, form), content_type=kind)
    response["Content-Disposition"] = f'inline; filename="asyncapi.{form}"'
    patch_vary_headers(response, ["Accept"])
    return response
