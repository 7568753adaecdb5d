"""易事厅's calls: an answer as a stream, as one body, or later."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from connections.auth import Principal, Scope, may_use
from connections.limits import per_minute
from conversations import selectors
from conversations.types import Question
from integrations.access import pipeline_of
from integrations.answers import Following, asked
from integrations.calls import LiveCall, listed
from integrations.errors import WireError, fault_of
from integrations.limiting import SESSION_TURN, admit, admit_turn, placed
from integrations.peers import Peer
from integrations.rest import BodyTooLarge, WireView, refusals
from integrations.yishiting import protocol, serializers
from integrations.yishiting.trace import answer_of, trace_of
from integrations.yishiting.translate import (
    NO_SUCH_PATH,
    WIRE,
    caller_of,
    exception_handler,
    is_busy,
    is_fault,
    last_delta,
    question_of,
    refusal,
    whole,
)

log = structlog.get_logger(__name__)

QUESTIONS = 60  # of one conversation in a minute
NO_SUCH_TRACE = "追踪ID不存在"
BUSY = "服务繁忙，请稍后再试。"
STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}


class BodyParser(BaseParser):
    """Hands a JSON body over as it came: the wire reads it in its own words."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the body's bytes; raise BodyTooLarge beyond the limit."""
        body = stream.read(settings.MAX_SMALL_FRAME_BYTES + 1)
        if len(body) > settings.MAX_SMALL_FRAME_BYTES:
            raise BodyTooLarge
        return body


class AnswerStream(StreamingHttpResponse):
    """A streamed answer, which takes over what is `held`. `aclose` gives it up, also where it was never begun."""

    def __init__(self, events: AsyncIterator[bytes], held: AsyncExitStack, trace: str) -> None:
        super().__init__(
            events,
            content_type="text/event-stream; charset=utf-8",
            headers={**STREAM_HEADERS, "X-Trace-ID": trace},
        )
        self._held = held.pop_all()

    async def aclose(self) -> None:
        """Leave the answer; the last to leave stops it."""
        await self._held.aclose()


def call(name: str, summary: str, answer: Any, **more: Any) -> Callable[..., Any]:
    """Describe a call in the API's schema."""
    answers = answer if isinstance(answer, dict) else {200: answer}
    responses = {**answers, **refusals(serializers.Refusal, 409, 500)}
    return extend_schema(operation_id=name, summary=summary, tags=[WIRE], responses=responses, **more)


class CallView(WireView):
    """A call of this wire: its errors, and who calls."""

    parser_classes: Any = (BodyParser,)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Answer whatever the caller says to accept: a reader of streams accepts nothing but streams."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def get_exception_handler(self) -> Callable[..., HttpResponse]:
        return exception_handler

    async def principal(self, request: Request, scope: Scope) -> Principal:
        """Return who is calling; raise WireError where he may not use this wire."""
        principal = await self.caller(request, scope)
        if not may_use(principal, WIRE):
            raise WireError("Forbidden", status=403)
        return principal

    def peer_of(self, request: Request) -> Peer:
        """Return who is at the other end."""
        return Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]  # Django's own

    async def question(self, request: Request, principal: Principal, kind: type[protocol.Sent]) -> Question:
        """Return what is asked; raise ProtocolError, PipelineMissing or Limited."""
        body: Any = request.data  # empty where nothing came
        asking = protocol.parse(body or b"", kind)
        question = question_of(asking, principal, pipeline_of(self.parts, principal).uuid)
        await admit(self.parts.limiter, per_minute(QUESTIONS), f"{WIRE}.{SESSION_TURN}", str(question.session.uuid))
        await admit_turn(self.parts, principal.application)
        return question


class ChatView(CallView):
    """The answer as a stream."""

    @call(
        "yishiting_chat",
        "Ask, and get the answer as server-sent events",
        {(200, "text/event-stream"): serializers.Event},
        request=serializers.StreamedQuestion,
    )
    async def post(self, request: Request) -> HttpResponseBase:
        """Return the stream once the question is stored."""
        until = _deadline()
        principal = await self.principal(request, Scope.WRITE)
        question = await self.question(request, principal, protocol.StreamedCall)
        peer = self.peer_of(request)
        async with AsyncExitStack() as held:
            held.enter_context(placed(self.parts, peer))
            following = await held.enter_async_context(asked(self.parts, question))
            live = held.enter_context(
                listed(self.parts.registry, peer, question, size=len(request.data), break_off=following.break_off)
            )
            trace = trace_of(following.answer_id, caller_of(principal))
            return AnswerStream(_events(following, live, until), held, str(trace))


class SyncView(CallView):
    """The answer as one body."""

    @call("yishiting_chat_sync", "Ask, and get the whole answer", serializers.Answer, request=serializers.WholeQuestion)
    async def post(self, request: Request) -> HttpResponse:
        """Return the answer once it is complete."""
        until = _deadline()
        principal = await self.principal(request, Scope.WRITE)
        question = await self.question(request, principal, protocol.WholeCall)
        with placed(self.parts, self.peer_of(request)):
            async with asked(self.parts, question) as following:
                async for _ in following.texts(until):
                    pass
        assert following.answer is not None
        if is_busy(following.answer):
            raise WireError("The server is busy.", zh=BUSY, status=503, retry_after=1)
        frame = whole(following.answer, caller_of(principal))
        return reply(frame, status=500 if isinstance(frame, protocol.Failed) else 200)


class AsyncView(CallView):
    """The answer later."""

    @call(
        "yishiting_chat_async",
        "Ask, and fetch the answer later",
        serializers.Pending,
        request=serializers.WholeQuestion,
    )
    async def post(self, request: Request) -> HttpResponse:
        """Return the trace once the question is stored; the answer is posted to the callback URL, if there is one."""
        principal = await self.principal(request, Scope.WRITE)
        question = await self.question(request, principal, protocol.WholeCall)
        notify = WIRE if principal.callback_url else ""
        accepted = await self.parts.turns.ask(msgspec.structs.replace(question, notify=notify))
        return reply(
            protocol.Pending(third_party_trace_id=str(trace_of(accepted.answer_id or 0, caller_of(principal))))
        )


class TraceView(CallView):
    """An answer that was asked for before."""

    @call(
        "yishiting_chat_async_answer",
        "The answer of an earlier call; is_async_response is true while it is still to come",
        serializers.Found,
        parameters=[OpenApiParameter("trace_uuid", OpenApiTypes.UUID, OpenApiParameter.PATH)],
    )
    async def get(self, request: Request, trace_uuid: str) -> HttpResponse:
        """Return the answer to the caller it belongs to; somebody else's looks like one that never was."""
        principal = await self.principal(request, Scope.READ)
        caller = caller_of(principal)
        answer = answer_of(trace_uuid, caller)
        if answer is None:
            raise WireError(NO_SUCH_TRACE, status=404)
        read = self.parts.store.read
        pending = await read(selectors.is_pending, answer)  # before the answer, which it may become meanwhile
        stored = await read(selectors.message, answer)
        if stored is not None:
            return reply(whole(stored, caller))
        if not pending:
            raise WireError(NO_SUCH_TRACE, status=404)
        return reply(protocol.Pending(third_party_trace_id=str(trace_of(answer, caller))))


async def nothing(request: HttpRequest) -> HttpResponse:
    """Answer what is not there, whatever is asked of it."""
    return refusal(404, NO_SUCH_PATH)


def reply(frame: protocol.Answer | protocol.Pending | protocol.Failed, *, status: int = 200) -> HttpResponse:
    """Return a body."""
    return HttpResponse(protocol.serialise(frame), content_type="application/json", status=status)


async def _events(following: Following, live: LiveCall, until: float) -> AsyncIterator[bytes]:
    """Yield the answer's events; the last one is finished, whatever happens."""
    async for delta in _deltas(following, until):
        if delta.finished:
            live.finish()
        yield live.tell(protocol.serialise(delta))


async def _deltas(following: Following, until: float) -> AsyncIterator[protocol.Delta]:
    rest = ""
    try:
        async for text in following.texts(until):
            if following.is_over():
                rest = text
            else:
                yield protocol.Delta(text)
    except Exception as error:
        fault = fault_of(error)
        if not fault.expected:
            log.exception("request.error", view="ChatView")
        yield last_delta(fault.message_zh, None)
    else:
        if rest and not is_fault(following.answer):
            yield protocol.Delta(rest)
            rest = ""
        yield last_delta(rest, following.answer)


def _deadline() -> float:
    """Return when an answer that is asked for now has to end, on the loop's clock."""
    return asyncio.get_running_loop().time() + settings.TURN_DEADLINE
