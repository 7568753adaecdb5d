"""Django's HTTP handler twice: whole for pages, lean for the wires.

Most of Django's middleware is synchronous underneath and costs a thread hop each way; a call of a wire needs neither
sessions nor CSRF nor messages. The lean chain holds only middleware of ours that runs in the loop, and leaves out
Django's signals around a request, whose receivers look after database connections: ours belong to the store's threads.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from os import SEEK_END
from typing import Any
from uuid import uuid4

import structlog
from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response

from chatgateway.middleware import HostGuard, OpenAccessGuard
from integrations.langbot.urls import DOCUMENTS, IMAGES
from integrations.multipart import BESIDE

# A document of 1 MiB, every character escaped, with room for the rest: Django would spool any body to disk first.
LARGEST_BODY = 7 * 1024 * 1024
# The paths that take a file.
FILES = (f"/{IMAGES}", f"/{DOCUMENTS}")
# What needs sessions, static files or a person's language; everything else is a wire's or a machine's.
PAGES = ("/admin", "/static", "/api/docs", "/api/schema", "/playground")
START = "/"
# A pipeline's chat: beside it are 易事厅's calls.
CHAT = re.compile(r"/chat/[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}/?\Z")


class WireHandler(ASGIHandler):
    """Serves the wires' HTTP calls."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request; a view whose caller leaves is cancelled."""
        request_id = str(uuid4())
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            body: Any = await self._read(scope, receive)
        except RequestAborted:
            return
        with closing(body), suppress(RequestAborted):
            request, refusal = self.create_request(scope, body)
            if request is not None and "CONTENT_LENGTH" not in request.META:
                # It came in chunks: without its length it would be taken for empty.
                request.META["CONTENT_LENGTH"] = str(body.seek(0, SEEK_END))
                body.seek(0)
            async with _cancelled_when_left(receive):
                response: Any = refusal if request is None else await self.run_get_response(request)
                response.headers["X-Request-ID"] = request_id
                try:
                    await self.send_response(response, send)
                finally:
                    if aclose := getattr(response, "aclose", None):
                        await aclose()

    async def _read(self, scope: Any, receive: Any) -> Any:
        """Return the request's body, or what stands for one that is far too large."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        largest = settings.MAX_UPLOAD_BYTES + BESIDE if scope["path"] in FILES else LARGEST_BODY
        if not declared.isdigit() or int(declared) > largest:
            return _Unread()
        return await self.read_body(_bounded(receive, largest))

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the lean chain."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain: Any = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]  # not in the stubs
        for guard in (CorsMiddleware, HostGuard, OpenAccessGuard):
            chain = convert_exception_to_response(guard(chain))
        self._middleware_chain = chain


class PageHandler(ASGIHandler):
    """Serves the pages. Of a body it keeps what the largest that one of them takes would have, and a little more."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        await super().handle(scope, _bounded(receive, max(LARGEST_BODY, settings.MAX_UPLOAD_BYTES)), send)


class _Unread:
    """A body that was not read: larger than anybody takes, so each wire refuses it in its own words."""

    def read(self, size: int = -1) -> bytes:
        """Return as much as is asked for, and nothing where that is all of it."""
        return b" " * size

    def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def _cancelled_when_left(receive: Any) -> AsyncIterator[None]:
    """Cancel the block when the peer leaves; raise RequestAborted then."""
    task = asyncio.current_task()
    assert task is not None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # more of a body that nobody reads
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not watching.done():
            raise
        task.uncancel()
        raise RequestAborted from None
    finally:
        watching.cancel()


def _bounded(receive: Any, largest: int) -> Any:
    """Return `receive`, with a body that is over once it is larger than `largest`: the rest is not kept."""
    size = 0

    async def bounded() -> Any:
        nonlocal size
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            if size <= largest:
                size += len(message.get("body", b""))
                return message if size <= largest else {**message, "more_body": False}

    return bounded


def is_page(path: str) -> bool:
    """Tell whether a path is a page's, or one of what pages are made of."""
    return path == START or path.startswith(PAGES) or CHAT.match(path) is not None
