"""What a model sends back: bytes to events, events to text."""

import re
from collections.abc import Sequence

import msgspec

from conversations.responders.calls import Failure, ModelError
from conversations.types import Usage

MAX_EVENT_BYTES = 256 * 1024


class EventTooLarge(ValueError):  # noqa: N818  names a state
    """An event grew past MAX_EVENT_BYTES without an end."""


class EventStream:
    """Cut server-sent events out of bytes that may be split anywhere; lines end in LF or CRLF.

    Comments and every field but `data` are dropped; the data lines of one event are joined by a line feed.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes; raise EventTooLarge."""
        if _is_one_event(chunk) and not self._rest and not self._data:  # nearly always
            return [chunk[6:-2].removesuffix(b"\r")]
        self._rest += chunk
        events: list[bytes] = []
        if b"\n" in chunk:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                if line and line != b"\r":
                    self._take(line)
                elif self._data:
                    events.append(self._event())
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise EventTooLarge
        return events

    def end(self) -> list[bytes]:
        """Return what the last event held when the stream ended without its blank line."""
        self._take(bytes(self._rest))
        self._rest.clear()
        return [self._event()] if self._data else []

    def _take(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ").removesuffix(b"\r")
            self._data.append(data)
            self._size += len(data) + 1  # an empty line counts too, or endless ones would not be noticed

    def _event(self) -> bytes:
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._size = [], 0
        return event


def _is_one_event(chunk: bytes) -> bool:
    return chunk.startswith(b"data: ") and chunk.find(b"\n") == len(chunk) - 2 and chunk.endswith(b"\n\n")


_NOTHING = msgspec.Raw(b"null")


class _Words(msgspec.Struct, gc=False):
    """A delta or a message: `content` is the answer; a model's reasoning only shows that it is alive."""

    content: str | None = None
    reasoning_content: msgspec.Raw = _NOTHING
    reasoning: msgspec.Raw = _NOTHING

    @property
    def is_thinking(self) -> bool:
        return any(bytes(raw) not in {b"null", b'""'} for raw in (self.reasoning_content, self.reasoning))


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Words | None = None
    message: _Words | None = None
    finish_reason: str | None = None


class _Tokens(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct, gc=False):
    """One event of the stream, or the whole of a reply that is not streamed."""

    choices: list[_Choice] | None = None
    usage: _Tokens | None = None
    error: msgspec.Raw = _NOTHING


class _Problem(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Refusal(msgspec.Struct):
    error: _Problem | None = None


_COMPLETION = msgspec.json.Decoder(_Completion)
_PROBLEM = msgspec.json.Decoder(_Problem)
_REFUSAL = msgspec.json.Decoder(_Refusal)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def error_code(body: bytes) -> str:
    """Return the code that the body of a refusal names, in brackets, or nothing."""
    try:
        return _named(_REFUSAL.decode(body).error)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _named(problem: _Problem | None) -> str:
    """Return an error's code in brackets; its message is not for the log, since it may quote what was said."""
    code = str(problem.code or problem.type or "") if problem else ""
    return f" ({code})" if _CODE.fullmatch(code) else ""


class Answer:
    """A model's answer as it comes in: bytes to increments of text."""

    def __init__(self) -> None:
        self.finished = False  # a finish reason or the end mark was seen
        self.usage: Usage | None = None
        self._heard = False
        self._events = EventStream()

    def take(self, chunk: bytes) -> tuple[str, bool]:
        """Return the text that `chunk` adds, and whether it held any token at all; raise ModelError."""
        try:
            return self._read(self._events.feed(chunk))
        except EventTooLarge as error:
            raise ModelError("the model sent an event without an end", Failure.GARBAGE) from error

    def end(self) -> str:
        """Return the text of an event that the end of the stream completed; raise ModelError if it was cut."""
        text, _ = self._read(self._events.end())
        if not self._heard:
            raise ModelError("the model's server sent no event", Failure.GARBAGE)
        if not self.finished:
            raise ModelError("the model's answer broke off", Failure.BROKEN_OFF)
        return text

    def whole(self, body: bytes) -> str:
        """Return the text of a reply that was not streamed."""
        text, _ = self._read([body])
        self.finished = True
        return text

    def _read(self, events: Sequence[bytes]) -> tuple[str, bool]:
        texts: list[str] = []
        alive = False
        self._heard = self._heard or bool(events)
        for event in events:
            if event == b"[DONE]":
                self.finished = True
                continue
            completion = _decode(event)
            if completion.usage is not None:
                usage = completion.usage
                self.usage = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)
            for choice in completion.choices or ():
                words = choice.delta or choice.message
                if choice.index == 0 and words is not None:
                    alive = alive or bool(words.content) or words.is_thinking
                    texts.append(words.content or "")
                self.finished = self.finished or choice.finish_reason is not None
        # A NUL is no text, and PostgreSQL stores none.
        return "".join(texts).replace("\0", ""), alive


def _decode(event: bytes) -> _Completion:
    try:
        completion = _COMPLETION.decode(event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError("the model sent something that is no completion", Failure.GARBAGE) from error
    if bytes(completion.error) != b"null":
        try:
            problem = _PROBLEM.decode(completion.error)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            problem = None
        raise ModelError(f"the model reported an error{_named(problem)}", Failure.REPORTED)
    return completion
