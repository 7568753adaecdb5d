"""易事厅's calls as the core's questions, stored answers as the wire's, and exceptions as its refusals."""

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog
from django.http import Http404, HttpResponse
from rest_framework import exceptions

from connections.auth import Principal
from conversations import phrases
from conversations.jobs.questions import IdReused
from conversations.types import Outcome, Question, SessionKey, StoredMessage, own_session
from integrations.errors import fault_of
from integrations.rest import BodyTooLarge
from integrations.yishiting.protocol import (
    NOT_JSON,
    Answer,
    Call,
    Delta,
    Failed,
    GlobalOutput,
    RecalledDoc,
    StreamedDoc,
    serialise,
)
from integrations.yishiting.trace import trace_of

log = structlog.get_logger(__name__)

WIRE = "yishiting"
FAULT = "服务器内部错误"
NO_SUCH_PATH = "接口不存在"
ID_REUSED = "msg_id已用于其他消息"
_BY_STATUS = {401: "未通过身份验证", 403: "没有权限"}


def caller_of(principal: Principal) -> str:
    """Return what keeps callers apart."""
    return str(principal.application or "open")


def question_of(call: Call, principal: Principal, pipeline: UUID) -> Question:
    """Return what is asked. The same `msg_id` of the same user in the same conversation is the same question."""
    return Question(
        session=_session(call, caller_of(principal), pipeline),
        wire=WIRE,
        text=call.content,
        prompt=call.content.strip(),
        components=_components(call),
        client_msg_id=_client_msg_id(call),
        application=principal.application,
        retry_failed=True,
        needs_end=True,
    )


def _session(call: Call, caller: str, pipeline: UUID) -> SessionKey:
    name = call.session_id or call.user
    if name:
        return own_session(pipeline, WIRE, caller, name, name=name)
    # Nobody is named: a conversation for this one question, found again by its id.
    return own_session(pipeline, WIRE, caller, "", call.msg_id or uuid4().hex)


def _client_msg_id(call: Call) -> str | None:
    if not call.msg_id:
        return None
    return hashlib.sha256(msgspec.json.encode((call.user, call.msg_id))).hexdigest()


def _components(call: Call) -> str:
    """Return the question as a list of components that keeps the caller's id: the callback echoes it."""
    if not call.msg_id:
        return ""
    source, text = {"type": "Source", "id": call.msg_id}, {"type": "Plain", "text": call.content}
    return msgspec.json.encode([source, text]).decode()


def msg_id_of(question: StoredMessage) -> str:
    """Return the id that a stored question came with."""
    components: list[dict[str, Any]] = msgspec.json.decode(question.components) if question.components else []
    return next((str(part["id"]) for part in components if part["type"] == "Source"), "")


def is_fault(answer: StoredMessage | None) -> bool:
    """Tell whether a question ended without an answer; one that was cut has one, and says so."""
    return answer is None or answer.outcome in (Outcome.FAILED, Outcome.STOPPED)


def is_busy(answer: StoredMessage) -> bool:
    """Tell whether a question was not answered because too many others were being."""
    return answer.outcome is Outcome.FAILED and answer.text in phrases.BUSY.values()


def last_delta(rest: str, answer: StoredMessage | None) -> Delta:
    """Return the event that ends a streamed answer, with what is still to be said of it; None: it is not known."""
    if answer is None:
        return Delta(rest, finished=True)
    docs = tuple(
        StreamedDoc(found.doc_id, found.title, found.url, found.space_id, float(found.score))
        for found in answer.citations
    )
    success = 1 if answer.outcome is Outcome.ANSWERED else 0
    return Delta(rest, finished=True, global_output=GlobalOutput(answer_success=success, docs=docs))


def whole(answer: StoredMessage, caller: str) -> Answer | Failed:
    """Return a stored answer as a body; one that failed is a failure to the caller too, who may ask it again."""
    trace = str(trace_of(answer.id, caller))
    if is_fault(answer):
        return Failed(FAULT, trace)
    docs = tuple(
        RecalledDoc(found.doc_id, found.space_id, found.title, found.url, float(found.score))
        for found in answer.citations
    )
    return Answer(
        is_recall_success=1 if docs else 0, recall_docs=docs, msg_content=answer.text, third_party_trace_id=trace
    )


# --- Refusals ----------------------------------------------------------------------------------


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Return what a caller is told of `error`; what nobody foresaw is logged."""
    if isinstance(error, exceptions.APIException | Http404):
        return refusal(*_framework_refusal(error))
    fault = fault_of(error)
    if not fault.expected:
        log.error("request.error", view=type(context.get("view")).__name__, exc_info=error)
    words = ID_REUSED if isinstance(error, IdReused) else _BY_STATUS.get(fault.status, fault.message_zh)
    response = refusal(fault.status, words)
    if fault.retry_after:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


def refusal(status: int, words: str) -> HttpResponse:
    """Return a refusal in the wire's shape."""
    return HttpResponse(serialise(Failed(words)), content_type="application/json", status=status)


def _framework_refusal(error: Exception) -> tuple[int, str]:
    """Return status and words of a refusal that the framework made."""
    match error:
        case exceptions.ParseError() | exceptions.UnsupportedMediaType():
            return 400, NOT_JSON
        case exceptions.MethodNotAllowed():
            return 405, "请求方法不支持"
        case BodyTooLarge():
            return 413, "请求内容过大"
        case exceptions.APIException():
            return error.status_code, FAULT
        case _:
            return 404, NO_SUCH_PATH
