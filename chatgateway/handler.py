"""Django's HTTP handler twice: whole for pages, lean for the wires.

Most of Django's middleware is synchronous underneath and costs a thread hop each way; a call of a wire needs neither
sessions nor CSRF nor messages. The lean chain holds only middleware of ours that runs in the loop, and leaves out
Django's signals around a request, whose receivers look after database connections: ours belong to the store's threads.
"""

from contextlib import closing
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import JsonResponse

from chatgateway.middleware import HostGuard, OpenAccessGuard

# What needs sessions, static files or a person's language; everything else is a wire's or a machine's.
# A document of 1 MiB, every character escaped, with room for the rest: Django would spool any body to disk first.
LARGEST_BODY = 7 * 1024 * 1024
PAGES = ("/admin", "/static", "/api/docs", "/api/schema")


class WireHandler(ASGIHandler):
    """Serves the wires' HTTP calls."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > LARGEST_BODY:
            refused = JsonResponse({"code": -1, "msg": "The request body is too large"}, status=413)
            await self.send_response(refused, send)
            return
        try:
            body = await self.read_body(_bounded(receive))
        except RequestAborted:
            return
        with closing(body):
            request, refusal = self.create_request(scope, body)
            response: Any = refusal if request is None else await self.run_get_response(request)
            await self.send_response(response, send)

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the lean chain."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain: Any = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]  # not in the stubs
        for guard in (HostGuard, OpenAccessGuard):
            chain = convert_exception_to_response(guard(chain))
        self._middleware_chain = chain


def _bounded(receive: Any) -> Any:
    """Return `receive`, ended as if the peer had left once a body without a length is too large."""
    size = 0

    async def bounded() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return message if size <= LARGEST_BODY else {"type": "http.disconnect"}

    return bounded


def is_page(path: str) -> bool:
    """Tell whether a path is a page's, or one of what pages are made of."""
    return path.startswith(PAGES)
