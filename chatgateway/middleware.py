"""HTTP guards that come before everything else, and what middleware of ours is made of."""

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

Next = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class InLoop:
    """Middleware that runs in the event loop, and adds nothing to what `_next` answers."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Next) -> None:
        self._next = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return await self._next(request)


class OpenAccessGuard(InLoop):
    """In open mode, refuse what came through a proxy: a local nginx must not publish open access by accident."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.ACCESS_MODE == "open" and not settings.ALLOW_OPEN_ACCESS and _proxied(request):
            return HttpResponse("Open access is not served through a proxy\n", status=403, content_type="text/plain")
        return await self._next(request)


class HostGuard(InLoop):
    """Refuse a request for a host that is not ours; give answers a length and the headers of safety."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.get_host()  # raises DisallowedHost, which Django answers with 400
        response = await self._next(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("X-Frame-Options", "DENY")
        if isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response


class PagePolicy(CSPMiddleware):
    """Tells browsers what a page may do: our own pages' policy, and what parts of the site need beside it."""

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy of the part of the site that was asked for."""
        parts = super().get_policy_parts(request, response, report_only)
        for beginning, directives in settings.CONTENT_SECURITY_POLICIES.items():
            if request.path.startswith(beginning):
                parts.replace = directives
        return parts


def _proxied(request: HttpRequest) -> bool:
    return any(name.lower() == "forwarded" or name.lower().startswith("x-forwarded-") for name in request.headers)
