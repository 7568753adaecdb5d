"""A model server over real sockets that works, or fails in every way that promise R12 names.

In the test's own loop, with the way it fails set on the server, or taken from the path or the words of the request:

    async with FakeModel() as model:
        model.mode = Mode.STALL            # for base_url() without a mode
        base_url = model.base_url(Mode.CUT)  # for this client only
        in_mode(Mode.CUT)                    # a question which is answered so whatever the server is set to

For servers under test in other processes, in a thread of its own:

    with model_in_thread() as model:
        start_server(OPENAI_BASE_URL=model.base_url())

`model.calls` lists what was asked, in order; `await call.ended` (or `call.wait(seconds)` from another thread) tells
when a call is over, and `call.left_early` whether the client hung up before its answer ended.
"""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Self

from tests.support.listening import close_listener

WORDS = tuple(f"tok{number:02d} " for number in range(20))
DROP = "drop "  # what Mode.DRIP says
PACE = 0.05  # seconds before each
_ASKED_FOR = re.compile(r"\bmode=([a-z-]+)")


class Mode(StrEnum):
    """How the model behaves; ONCE means: the first call of this mode fails, later ones are answered."""

    OK = "ok"
    SLOW = "slow"  # `delay` seconds before each word
    PLAIN_JSON = "plain-json"  # answers a request for a stream with one JSON object
    NO_DONE = "no-done"  # ends the stream without its end mark
    NO_USAGE = "no-usage"
    NO_END = "no-end"  # all words and the finish reason, then nothing
    CUT_AT_END = "cut-at-end"  # all words and the finish reason, then the connection ends
    THINKING = "thinking"  # reasoning and tool calls before the words
    CRLF = "crlf"  # comments, CRLF, data over two lines, one byte per write
    EMPTY = "empty"
    UNAUTHORIZED = "unauthorized"
    REDIRECT = "redirect"
    BUSY = "busy"
    BUSY_ONCE = "busy-once"
    BROKEN = "broken"
    BROKEN_ONCE = "broken-once"
    HANG_UP = "hang-up"  # closes without a response
    HANG_UP_ONCE = "hang-up-once"
    SILENT = "silent"  # reads the request, says nothing
    HEADERS_ONLY = "headers-only"  # an event stream in which only comments and an empty role come
    STALL = "stall"  # half the words, then nothing
    CUT = "cut"  # half the words, then the connection ends
    CLEAN_CUT = "clean-cut"  # half the words, then a proper end of the body
    GARBAGE = "garbage"  # half the words, then an event that is no JSON
    NOT_HTTP = "not-http"
    HTML = "html"
    ERROR_EVENT = "error-event"  # half the words, then an error object in the stream
    ERROR_TEXT = "error-text"  # the same with a text in place of the object
    ENDLESS = "endless"  # as fast as it is read
    DRIP = "drip"  # the same at a pace that no limit but the whole answer's ends


_BROKEN_HALFWAY = frozenset({Mode.STALL, Mode.CUT, Mode.CLEAN_CUT, Mode.GARBAGE, Mode.ERROR_EVENT, Mode.ERROR_TEXT})


def in_mode(mode: Mode) -> str:
    """Return a question, in English, which the model answers in that mode."""
    return f"What is this, please? mode={mode}"


class ClientLeft(Exception):  # noqa: N818  names a state
    """The client hung up before its answer ended."""


class Call:
    """One request as it arrived. `headers` has lower-case names; `body` is the decoded JSON."""

    def __init__(self, path: str, mode: Mode, headers: dict[str, str], body: Any) -> None:
        self.path = path
        self.mode = mode
        self.headers = headers
        self.body = body
        self.left_early = False
        self._over: Future[None] = Future()

    @property
    def is_over(self) -> bool:
        """Tell whether the call is over."""
        return self._over.done()

    @property
    def ended(self) -> "asyncio.Future[None]":
        """Return something to await until the call is over."""
        return asyncio.wrap_future(self._over)

    def wait(self, seconds: float) -> None:
        """Block until the call is over; raise TimeoutError."""
        self._over.result(seconds)

    def end(self, *, left_early: bool) -> None:
        """Note that the call is over (the server calls it)."""
        self.left_early = left_early
        self._over.set_result(None)


class FakeModel:
    """An OpenAI-compatible server; enter it to listen on a free port of the loopback."""

    def __init__(self, mode: Mode = Mode.OK, *, words: tuple[str, ...] = WORDS) -> None:
        self.mode = mode
        self.words = words
        self.delay = 0.01  # seconds, in Mode.SLOW
        self.retry_after = "0"  # of Mode.BUSY and BUSY_ONCE; empty: no such header
        self.calls: list[Call] = []
        self.called = asyncio.Event()  # set by the first call; to be awaited in the model's own loop
        self.connections = 0
        self.port = 0
        self._failed: set[Mode] = set()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def base_url(self, mode: Mode | None = None) -> str:
        """Return the URL to configure; with `mode`, requests by it behave so whatever `self.mode` says."""
        return f"http://127.0.0.1:{self.port}{f'/{mode}' if mode else ''}/v1"

    @property
    def open_connections(self) -> int:
        """How many are open now: a client keeps some for its next call."""
        return len(self._open)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_listener(self._server)
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.connections += 1
        try:
            while await self._serve(reader, writer):
                pass
        finally:
            writer.close()
            del self._open[task]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays."""
        try:
            call = await self._receive(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        self.calls.append(call)
        self.called.set()
        left_early = False
        try:
            return await _Answer(self, call, reader, writer).give()
        except (ClientLeft, ConnectionError):
            left_early = True
            return False
        finally:
            call.end(left_early=left_early)

    async def _receive(self, reader: asyncio.StreamReader) -> Call:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = request.split(" ")[1]
        asked = json.loads(body) if body else None
        return Call(path, self._mode_of(path, asked), headers, asked)

    def _mode_of(self, path: str, asked: Any) -> Mode:
        messages = asked.get("messages") if isinstance(asked, dict) else None
        named = _ASKED_FOR.search(str(messages[-1]["content"])) if messages else None
        first = path.split("/")[1]
        return Mode(named[1]) if named else Mode(first) if first in list(Mode) else self.mode

    def first_failure(self, mode: Mode) -> bool:
        """Tell whether this is the first time that `mode` asks."""
        is_first = mode not in self._failed
        self._failed.add(mode)
        return is_first


class _Answer:
    """What one call gets."""

    def __init__(
        self, model: FakeModel, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._model = model
        self._call = call
        self._reader = reader
        self._writer = writer

    async def give(self) -> bool:
        """Write the answer; return whether the connection stays; raise ClientLeft or ConnectionError."""
        model, mode = self._model, self._call.mode
        if refusal := self._refusal():
            return await self._refuse(*refusal)
        match mode:
            case Mode.HANG_UP | Mode.HANG_UP_ONCE if mode is Mode.HANG_UP or model.first_failure(mode):
                return False
            case Mode.SILENT:
                await self._pause(None)
            case Mode.NOT_HTTP:
                await self._write(b"SSH-2.0-nothing to see here\r\n\r\n")
                return False
            case Mode.HTML:
                return await self._respond("200 OK", "text/html", b"<!doctype html>\n<p>Hello</p>\n")
            case Mode.PLAIN_JSON:
                message = {"message": {"role": "assistant", "content": "".join(model.words)}, "finish_reason": "stop"}
                whole = {"choices": [{"index": 0, **message}], "usage": self._usage()}
                return await self._respond("200 OK", "application/json", json.dumps(whole).encode())
        return await self._stream()

    def _refusal(self) -> tuple[str, ...] | None:
        """Return status, error code and perhaps a header for a call that is refused."""
        model, mode = self._model, self._call.mode
        match mode:
            case Mode.UNAUTHORIZED:
                return "401 Unauthorized", "invalid_api_key"
            case Mode.REDIRECT:
                return "307 Temporary Redirect", "moved", f"location: {model.base_url(Mode.OK)}"
            case Mode.BUSY | Mode.BUSY_ONCE if mode is Mode.BUSY or model.first_failure(mode):
                pause = f"retry-after: {model.retry_after}" if model.retry_after else ""
                return "429 Too Many Requests", "rate_limit_exceeded", pause
            case Mode.BROKEN | Mode.BROKEN_ONCE if mode is Mode.BROKEN or model.first_failure(mode):
                return "500 Internal Server Error", "server_error"
        return None

    async def _stream(self) -> bool:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self._writer.write(head.encode())
        words, mode = self._model.words, self._call.mode
        if mode in _BROKEN_HALFWAY:
            words = words[: len(words) // 2]
        await self._event(_delta(role="assistant", content=""))
        if mode is Mode.THINKING:
            await self._event(_delta(reasoning_content="secret thoughts"))
            await self._event(_delta(tool_calls=[{"index": 0, "function": {"name": "none", "arguments": "{}"}}]))
        if mode is Mode.HEADERS_ONLY:
            await self._write(_chunk(b": still working\n\n"))
            await self._pause(None)
        if mode in (Mode.EMPTY, Mode.DRIP):
            words = ()
        for word in words:
            if mode is Mode.SLOW:
                await self._pause(self._model.delay)
            await self._event(_delta(content=word))
        return await self._finish(mode)

    async def _finish(self, mode: Mode) -> bool:
        """End the stream the way `mode` does."""
        match mode:
            case Mode.STALL:
                await self._pause(None)
            case Mode.CUT:
                return False
            case Mode.CLEAN_CUT:
                await self._write(_chunk(b""))
                return False
            case Mode.GARBAGE:
                await self._write(_chunk(b'data: {"choices": [{"del\n\n'))
                await self._pause(None)
            case Mode.ERROR_EVENT | Mode.ERROR_TEXT:
                problem = {"message": "quotes what was said", "code": "context_length_exceeded"}
                await self._event({"error": problem if mode is Mode.ERROR_EVENT else "quotes what was said"})
                await self._pause(None)
            case Mode.DRIP:
                while True:
                    await self._pause(PACE)
                    await self._event(_delta(content=DROP))
            case Mode.ENDLESS:
                while True:
                    await self._event(_delta(content="again and again "))
        return await self._close(mode)

    async def _close(self, mode: Mode) -> bool:
        """Say that all was said, as far as `mode` says so."""
        await self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if mode is Mode.NO_END:
            await self._pause(None)
        if mode is Mode.CUT_AT_END:
            return False
        if mode is not Mode.NO_USAGE:
            await self._event({"choices": [], "usage": self._usage()})
        if mode is not Mode.NO_DONE:
            await self._write(_chunk(b"data: [DONE]\n\n"))
        await self._write(_chunk(b""))
        return True

    async def _event(self, event: dict[str, Any]) -> None:
        text = json.dumps(event, ensure_ascii=False)
        if self._call.mode is not Mode.CRLF:
            await self._write(_chunk(f"data: {text}\n\n".encode()))
            return
        head, comma, tail = text.partition(", ")
        split = f"{head},\r\ndata:{tail}" if comma else text
        for byte in f": a comment\r\nid: 7\r\nevent: message\r\ndata: {split}\r\n\r\n".encode():
            await self._write(_chunk(bytes([byte])))

    async def _refuse(self, status: str, code: str, header: str = "") -> bool:
        body = {"error": {"message": "quotes what was said", "code": code}}
        return await self._respond(status, "application/json", json.dumps(body).encode(), header)

    async def _respond(self, status: str, content_type: str, body: bytes, header: str = "") -> bool:
        lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}"]
        lines += [header] if header else []
        await self._write("\r\n".join([*lines, "\r\n"]).encode() + body)
        return True

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _pause(self, seconds: float | None) -> None:
        """Wait, for ever without `seconds`; raise ClientLeft as soon as the client hangs up."""
        try:
            async with asyncio.timeout(seconds):
                if not await self._reader.read(1):
                    raise ClientLeft
        except TimeoutError:
            return

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": 11, "completion_tokens": len(self._model.words)}


def _delta(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def closed_port() -> int:
    """Return a port of the loopback on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def model_in_thread(mode: Mode = Mode.OK) -> Iterator[FakeModel]:
    """Run a model in a thread with an event loop of its own, until the block ends."""
    ready: Future[FakeModel] = Future()
    stop: Future[None] = Future()

    async def serve() -> None:
        async with FakeModel(mode) as model:
            ready.set_result(model)
            await asyncio.wrap_future(stop)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fake-model")
    thread.start()
    try:
        yield ready.result(10)
    finally:
        stop.set_result(None)
        thread.join(10)
