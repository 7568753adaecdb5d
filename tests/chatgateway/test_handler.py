"""The lean HTTP handler: a view whose caller leaves is cancelled, a stream is given up whether it began or not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import override_settings
from django.urls import path

from chatgateway.handler import FILES, LARGEST_BODY, PageHandler, WireHandler
from integrations.multipart import BESIDE
from tests.conversations.doubles import Watch

seen: list[str] = []
urlpatterns: list[Any] = []


class Held(StreamingHttpResponse):
    async def aclose(self) -> None:
        seen.append("closed")


async def waits(request: Any) -> HttpResponse:
    seen.append("began")
    request.scope["happened"].note()
    try:
        await asyncio.Event().wait()
    finally:
        seen.append("cancelled")
    return HttpResponse()


async def streams(request: HttpRequest) -> HttpResponseBase:
    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            if request.method == "POST":
                await asyncio.Event().wait()
            yield b"last"
        finally:
            seen.append("generator closed")

    return Held(parts())


async def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.read(LARGEST_BODY + 1))))


urlpatterns += [path("waits", waits), path("streams", streams), path("reads", reads)]
MIB = b"x" * 1024 * 1024
UNREAD = LARGEST_BODY * 2  # as much as is asked for of a body that was not read


async def reads_all(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.read(UNREAD))))


async def measures(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.read())))


urlpatterns += [path("measures", measures), *(path(address.removeprefix("/"), reads_all) for address in FILES)]


class Peer:
    """The server's side of one request: hands over the body, leaves when told, keeps what is sent."""

    def __init__(self, body: bytes = b"", *, stuck: bool = False, more: bool = False) -> None:
        self.happened = Watch()
        self.left = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._body: bytes | None = body
        self._stuck = stuck
        self._more = more

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": self._more}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.happened.note()
        if self._stuck:
            await asyncio.Event().wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture
def handler() -> Iterator[WireHandler]:
    seen.clear()
    with override_settings(ROOT_URLCONF=__name__):
        yield WireHandler()


def request(
    handler: WireHandler | PageHandler, peer: Peer, address: str, *, method: str = "GET", length: int | None = 0
) -> asyncio.Task[None]:
    scope: dict[str, Any] = {
        "type": "http",
        "happened": peer.happened,
        "method": method,
        "path": address,
        "query_string": b"",
        "scheme": "http",
        "headers": [
            (b"host", b"localhost"),
            *([] if length is None else [(b"content-length", str(length).encode())]),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    answering: Any = handler(scope, peer.receive, peer.send)
    task: asyncio.Task[None] = asyncio.create_task(answering)
    return task


async def test_a_view_whose_caller_leaves_is_cancelled(handler: WireHandler) -> None:
    peer = Peer()
    task = request(handler, peer, "/waits")
    await peer.happened.until(lambda: seen == ["began"])
    peer.left.set()
    await asyncio.wait_for(task, 5)
    assert seen == ["began", "cancelled"]
    assert peer.sent == []


async def test_a_stream_that_is_left_is_closed(handler: WireHandler) -> None:
    peer = Peer()
    task = request(handler, peer, "/streams", method="POST")
    await peer.happened.until(lambda: peer.body == b"first")
    peer.left.set()
    await asyncio.wait_for(task, 5)
    assert seen == ["generator closed", "closed"]


async def test_a_stream_that_never_began_is_closed(handler: WireHandler) -> None:
    peer = Peer(stuck=True)
    task = request(handler, peer, "/streams")
    await peer.happened.until(lambda: peer.sent)
    peer.left.set()
    await asyncio.wait_for(task, 5)
    assert seen == ["closed"]


async def test_a_stream_that_ends_is_closed_once(handler: WireHandler) -> None:
    peer = Peer()
    await request(handler, peer, "/streams")
    assert peer.body == b"firstlast"
    assert seen == ["generator closed", "closed"]
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_the_server_that_ends_ends_the_request(handler: WireHandler) -> None:
    peer = Peer()
    task = request(handler, peer, "/waits")
    await peer.happened.until(lambda: seen == ["began"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["began", "cancelled"]


async def test_a_body_without_a_length_is_read(handler: WireHandler) -> None:
    peer = Peer(b"in chunks")
    await request(handler, peer, "/reads", method="POST", length=None)
    assert peer.body == b"9"


async def test_one_that_is_far_too_large_is_read_until_it_is(handler: WireHandler) -> None:
    peer = Peer(b"x" * (LARGEST_BODY + 1), more=True)
    await request(handler, peer, "/reads", method="POST", length=None)
    assert peer.body == str(LARGEST_BODY + 1).encode()


class EndlessPeer(Peer):
    """Sends more than anybody takes, and goes on while it is answered."""

    left_to_send = 30

    async def receive(self) -> dict[str, Any]:
        if self.left_to_send:
            self.left_to_send -= 1
            return {"type": "http.request", "body": MIB, "more_body": True}
        return await super().receive()


async def test_a_page_keeps_of_a_body_what_the_largest_would_have(handler: WireHandler) -> None:
    largest = max(LARGEST_BODY, settings.MAX_UPLOAD_BYTES)
    with override_settings(MIDDLEWARE=[]):
        pages = PageHandler()
    peer = EndlessPeer()
    async with asyncio.timeout(20):
        await request(pages, peer, "/measures", method="POST", length=None)
    assert peer.sent[0]["status"] == 200
    assert largest < int(peer.body) <= largest + len(MIB)


@pytest.mark.parametrize("address", FILES)
async def test_a_call_that_takes_a_file_takes_a_larger_body(handler: WireHandler, address: str) -> None:
    largest = settings.MAX_UPLOAD_BYTES + BESIDE
    for size, read in ((largest, largest), (largest + 1, UNREAD)):
        peer = Peer(b"x" * size)
        await request(handler, peer, address, method="POST", length=size)
        assert peer.body == str(read).encode()


async def test_a_body_that_is_far_too_large_looks_larger_than_every_limit(handler: WireHandler) -> None:
    peer = Peer(b"only the beginning")
    await request(handler, peer, "/reads", method="POST", length=LARGEST_BODY + 1)
    assert peer.body == str(LARGEST_BODY + 1).encode()
