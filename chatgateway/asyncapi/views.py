"""The description of the sockets, as YAML or JSON."""

import asyncio
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from chatgateway.asyncapi.channels import describe, servers
from chatgateway.asyncapi.writing import CONTENT_TYPES, joined, section
from integrations.peers import client_scheme


@cache
def _sections(form: str) -> dict[str, str]:
    """Return the document's members in a form: they take a while, and are the same for as long as the process lives."""
    document = describe(str(settings.SPECTACULAR_SETTINGS["VERSION"]))
    return {name: section(name, content, form) for name, content in document.items()}


def written(form: str, host: str = "", *, tls: bool = False) -> str:
    """Return the document in a form, of the gateway at `host`, or of one anywhere."""
    sections = dict(_sections(form))
    if host:
        sections["servers"] = section("servers", servers(host, tls=tls), form)
    return joined(sections.values(), form)


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
    text = await asyncio.to_thread(written, form, request.get_host(), tls=_is_by_tls(request))
    response = HttpResponse(text, content_type=kind)
    response["Content-Disposition"] = f'inline; filename="asyncapi.{form}"'
    patch_vary_headers(response, ["Accept"])
    return response


def _is_by_tls(request: HttpRequest) -> bool:
    """Tell whether who asks does so by TLS, which a proxy may have ended: it says so itself, or PUBLIC_URL does."""
    scheme = client_scheme(
        request.scheme or "",
        request.headers.get("X-Forwarded-Proto", ""),
        address=request.META.get("REMOTE_ADDR", ""),
        trusted=settings.TRUSTED_PROXIES,
    )
    return scheme == "https" or f"https://{request.get_host()}" == settings.PUBLIC_URL
