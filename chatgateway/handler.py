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

from chatgateway.middleware import HostGuard, OpenAccessGuard

# What needs sessions, static files or a person's language; everything else is a wire's or a machine's.
PAGES = ("/admin", "/static", "/api/docs", "/api/schema")


class WireHandler(ASGIHandler):
    """Serves the wires' HTTP calls."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        try:
            body = await self.read_body(receive)
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


def is_page(path: str) -> bool:
    """Tell whether a path is a page's, or one of what pages are made of."""
    return path.startswith(PAGES)
