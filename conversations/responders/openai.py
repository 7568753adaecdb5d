"""Answers by a model behind an OpenAI-compatible API, streamed, within the time limits of promise R12.

What is sent stands in `openai_messages` and `openai_files`, what comes back in `openai_events`.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, cast
from uuid import UUID

import httpx2
import msgspec

from conversations.responders.base import Ask
from conversations.responders.breaker import Breaker
from conversations.responders.calls import Calls, Failure, ModelError
from conversations.responders.openai_events import Answer, error_code
from conversations.responders.openai_files import Files, NoFiles, show
from conversations.responders.openai_messages import (
    NOTHING_SHOWN,
    ChatMessage,
    Passage,
    Shown,
    choose_passages,
    cite,
    compose,
    estimate_tokens,
)
from conversations.responders.upstream import ForbiddenAddress, read_by
from conversations.types import Language, Reply

MAX_BODY_BYTES = 1024 * 1024  # of a reply that is not streamed
MAX_PROBLEM_BYTES = 16 * 1024  # of an error's body, read for its code
RETRIES = 2
RETRY_DELAY = 0.25  # seconds before the first retry; it doubles, and grows by chance up to half of itself
ANSWER_CHARS = 32_000  # of one answer; a longer one breaks off
FILES_TIME = 5.0  # seconds until a question's files are read; one that is not is left out
TAIL = 1.0  # seconds that a finished answer waits for its usage and the end of the stream


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; `first_token` counts over all tries, `idle` between two tokens.

    `files` is spent before a model is asked: what is slow here is not its fault.
    `context_tokens` bounds passages and history together (roughly counted), `answer_chars` one answer.
    """

    files: float = FILES_TIME
    connect: float = 5.0
    first_token: float = 20.0
    idle: float = 15.0
    retry_after: float = 3.0  # a server that wants a longer pause is not asked again
    context_tokens: int = 3000
    passages: int = 4
    answer_chars: int = ANSWER_CHARS


class Recall(Protocol):
    """Finds at most `limit` passages of a pipeline's documents for a question, best first; none is an answer too."""

    async def __call__(
        self, pipeline_uuid: UUID, question: str, language: Language, limit: int, /
    ) -> Sequence[Passage]: ...


class _Retriable(Exception):  # noqa: N818  names a state
    """A try failed before the first token; `pause` is what the server asked for, in seconds."""

    def __init__(self, error: ModelError, pause: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause


class OpenAIResponder:
    """Asks a model; `client` comes from `upstream.open_client` and stays its opener's to close."""

    wants_history = True
    repeatable = False  # a second call costs money, and its words would differ

    def __init__(
        self,
        *,
        client: httpx2.AsyncClient,
        base_url: str,
        api_key: str,
        model: str,
        recall: Recall,
        limits: Limits | None = None,
        calls: Calls | None = None,
        files: Files | None = None,
    ) -> None:
        self._files = files or NoFiles()
        self._client = client
        self._url = httpx2.URL(f"{base_url.rstrip('/')}/chat/completions")
        self._headers = client.headers.copy()
        self._headers.update({"content-type": "application/json", "accept": "text/event-stream"})
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._model = model
        self._recall = recall
        self._limits = limits or Limits()
        self._calls = calls or Calls()

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        """Yield the model's words as they come, then a Reply that cites what was recalled."""
        model = ask.route.model or self._model
        chosen: list[tuple[Passage, str]] = []
        answer = Answer()
        room = self._limits.context_tokens
        shown = await self._show(ask, model, room // 2)
        room -= sum(estimate_tokens(text) for _, text in shown.texts)
        with self._calls.call(model) as breaker:
            first_by = min(asyncio.get_running_loop().time() + self._limits.first_token, ask.deadline)
            if ask.route.recall:
                passages = await self._recall(ask.pipeline.uuid, ask.question, ask.language, self._limits.passages)
                chosen = choose_passages(passages, room // 2)
                room -= sum(estimate_tokens(words) for _, words in chosen)
            length = 0
            async with (
                aclosing(
                    await self._open(_body(model, compose(ask, chosen, room, shown)), first_by, breaker)
                ) as response,
                aclosing(self._read(response, answer, first_by)) as texts,
            ):
                async for text in texts:
                    length += len(text)
                    if length > self._limits.answer_chars:
                        what = f"the model did not end within {self._limits.answer_chars} characters"
                        raise ModelError(what, Failure.ENDLESS)
                    yield text
            if not length:
                raise ModelError("the model answered with nothing", Failure.EMPTY)
        yield Reply(cite(chosen), answer.usage, known=True)

    async def _show(self, ask: Ask, model: str, tokens: int) -> Shown:
        """Return what the model is shown of the files, nothing where it would not be asked now."""
        if not self._calls.admits(model):
            return NOTHING_SHOWN
        by = min(asyncio.get_running_loop().time() + self._limits.files, ask.deadline)
        return await show(self._files, ask, tokens, by)

    async def _open(self, body: bytes, first_by: float, breaker: Breaker) -> httpx2.Response:
        """Return a response that began well, after at most RETRIES further tries that can still end by `first_by`.

        There is none while the model is left alone: not for the call that finds out, nor for those still on their way.
        """
        loop = asyncio.get_running_loop()
        for attempt in range(RETRIES + 1):
            try:
                async with asyncio.timeout_at(first_by):
                    return await self._try(body)
            except TimeoutError as error:
                raise ModelError("the model gave no first token in time", Failure.SILENT) from error
            except _Retriable as failure:
                pause = failure.pause
                if pause is None:
                    pause = RETRY_DELAY * 2**attempt * random.uniform(1.0, 1.5)  # noqa: S311  spreads load only
                useless = pause > self._limits.retry_after or loop.time() + pause + self._limits.connect >= first_by
                if attempt == RETRIES or useless or not breaker.is_closed:
                    raise failure.error from failure
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _try(self, body: bytes) -> httpx2.Response:
        """Send the request once; raise _Retriable, or ModelError where another try would end the same."""
        connect = self._limits.connect
        request = httpx2.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=body,
            extensions={"timeout": {"connect": connect, "write": connect, "read": None, "pool": None}},
        )
        try:
            response = await self._client.send(request, stream=True)
        except ForbiddenAddress as error:
            what = "the model's address is private, and ALLOW_PRIVATE_UPSTREAMS is off"
            raise ModelError(what, Failure.MISCONFIGURED) from error
        except httpx2.ConnectTimeout as error:
            # The kernel has knocked several times meanwhile.
            raise ModelError("the model's server cannot be reached in time", Failure.UNREACHABLE) from error
        except httpx2.ConnectError as error:
            raise _Retriable(ModelError("the model's server cannot be reached", Failure.UNREACHABLE)) from error
        except httpx2.TransportError as error:
            # Nothing was answered. Mostly a kept connection that the server had just closed.
            what = f"the model's server gave no HTTP response ({type(error).__name__})"
            raise _Retriable(ModelError(what, Failure.UNREACHABLE)) from error
        status = response.status_code
        if status == 200:
            return response
        async with aclosing(response):
            reason = f"the model's server answered {status}{await _problem_code(response)}"
        if status == 429 or status >= 500:
            failure = Failure.LIMITED if status == 429 else Failure.ERROR
            raise _Retriable(ModelError(reason, failure), _retry_after(response))
        raise ModelError(reason, Failure.MISCONFIGURED if status in (401, 403, 404) else Failure.REJECTED)

    async def _read(self, response: httpx2.Response, answer: Answer, first_by: float) -> AsyncGenerator[str, None]:
        """Yield the increments of a response's text within the time limits, until it is complete."""
        content_type = response.headers.get("content-type", "")
        begun = False
        loop = asyncio.get_running_loop()
        read_by(response, first_by)
        try:
            if content_type.partition(";")[0].strip().lower() == "application/json":
                yield answer.whole(await _whole_body(response, MAX_BODY_BYTES))
                return
            async with _chunks(response) as chunks:
                async for chunk in chunks:
                    was_finished = answer.finished
                    text, alive = answer.take(chunk)
                    if text:
                        yield text
                    if answer.finished:
                        if not was_finished:
                            read_by(response, loop.time() + TAIL)
                    elif alive:
                        read_by(response, loop.time() + self._limits.idle)
                        begun = True
            if text := answer.end():
                yield text
        except httpx2.TransportError as error:
            if answer.finished:
                return  # all was said; only the end of the stream is missing
            if not isinstance(error, httpx2.ReadTimeout):
                raise ModelError("the model's answer broke off", Failure.BROKEN_OFF) from error
            if begun:
                raise ModelError("the model stalled in the middle of its answer", Failure.STALLED) from error
            raise ModelError("the model gave no first token in time", Failure.SILENT) from error


def _body(model: str, messages: Sequence[ChatMessage]) -> bytes:
    return msgspec.json.encode(
        {
            "model": model,
            "messages": [message.as_sent() for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def _chunks(response: httpx2.Response) -> "aclosing[AsyncGenerator[bytes, None]]":
    """Return a response's bytes as they arrive, to be entered: leaving ends the generators below at once."""
    return aclosing(cast("AsyncGenerator[bytes, None]", aiter(cast("httpx2.AsyncByteStream", response.stream))))


async def _whole_body(response: httpx2.Response, limit: int) -> bytes:
    """Return a response's body; raise ModelError past `limit` bytes."""
    body = bytearray()
    async with _chunks(response) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                raise ModelError("the model's reply is too large", Failure.GARBAGE)
    return bytes(body)


async def _problem_code(response: httpx2.Response) -> str:
    """Return the code that an error's body names, in brackets, or nothing."""
    try:
        async with asyncio.timeout(TAIL):
            return error_code(await _whole_body(response, MAX_PROBLEM_BYTES))
    except (TimeoutError, ModelError, httpx2.TransportError):
        return ""


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the pause that a server asks for, in seconds; a date is not read: the wall clock may be wrong."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None
