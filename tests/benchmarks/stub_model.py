"""An OpenAI-compatible model that costs nothing: it streams a fixed number of chunks at once.

usage: python -m tests.benchmarks.stub_model PORT [CHUNKS]
"""

import asyncio
import sys
from typing import Any, cast

import msgspec
import uvloop


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """Return one server-sent event of a streamed completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk: dict[str, Any] = {"id": "stub", "object": "chat.completion.chunk", "created": 1, "model": "stub"}
    return b"data: " + msgspec.json.encode({**chunk, "choices": [choice]}) + b"\n\n"


def streamed(chunks: int) -> bytes:
    """Return the whole response to a streamed request, each event in a chunk of its own."""
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": f"token{number:02d} "}) for number in range(chunks)]
    events += [event({}, "stop"), b"data: [DONE]\n\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in events) + b"0\r\n\r\n"


def whole(body: dict[str, Any]) -> bytes:
    """Return a response with `body` as JSON."""
    payload = msgspec.json.encode(body)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload


class StubModel(asyncio.Protocol):
    """One client's connection, kept open between requests."""

    def __init__(self, chunks: int) -> None:
        self._buffer = b""
        self._streamed = streamed(chunks)
        text = "".join(f"token{number:02d} " for number in range(chunks))
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": chunks, "total_tokens": chunks + 1}
        self._plain = whole({"id": "stub", "object": "chat.completion", "choices": [choice], "usage": usage})
        self._models = whole({"object": "list", "data": [{"id": "stub", "object": "model"}]})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._transport.write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if not head.partition(b"\r\n")[0].split()[1].endswith(b"/chat/completions"):
            return self._models
        return self._streamed if msgspec.json.decode(body).get("stream") else self._plain


async def serve(port: int, chunks: int) -> None:
    """Answer on loopback until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: StubModel(chunks), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20))
