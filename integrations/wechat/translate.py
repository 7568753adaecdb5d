"""Between conversations and this wire's frames: answers, growing and stored, and errors."""

from conversations.types import Outcome, ReplyDelta, StoredMessage
from integrations.attached import as_text
from integrations.errors import Fault
from integrations.wechat.protocol import (
    REFUSALS,
    Answer,
    Body,
    ChatDelta,
    ChatResponse,
    Failing,
    Reason,
    ServerFrame,
)

SUCCESS = "成功"
# What a client shows of an answer that did not come to its end; the part that came is in `data.msg`.
_ENDED_BADLY = {
    Outcome.FAILED: "处理失败: 暂时无法回答，请稍后再试",
    Outcome.CUT: "处理失败: 回答超过时限或被中断",
}


def verdict(message: StoredMessage) -> tuple[int, str]:
    """Return code and words of how an answer ended."""
    words = _ENDED_BADLY.get(message.outcome) if message.outcome else None
    return (500, words) if words else (0, SUCCESS)


def answer_frame(message: StoredMessage, public_url: str = "") -> ChatResponse:
    """Return the frame of a stored answer; `public_url` is where its files are read, or empty."""
    code, words = verdict(message)
    data = Answer(
        as_text(message, public_url),
        str(message.id),
        str(message.session),
        seq=message.seq,
        request_id=message.request_id or None,
    )
    return ChatResponse(code, words, data)


def delta_frame(event: ReplyDelta, session_id: str, request_id: str | None) -> ChatDelta:
    """Return the frame of an answer so far."""
    return ChatDelta(0, SUCCESS, Answer(event.text, str(event.id), session_id, request_id=request_id))


def answer_body(message: StoredMessage) -> Body:
    """Return the HTTP answer of a stored answer."""
    code, words = verdict(message)
    return Body(code, words, Answer(message.text, str(message.id), str(message.session)))


def failure_frame(fault: Fault, kind: Failing = "error", request_id: str | None = None) -> ServerFrame:
    """Return the frame of an error."""
    code, message = _verdict(fault, failed=kind == "chat_response")
    return REFUSALS[kind](code, message, _reason(fault, request_id))


def failure_body(fault: Fault, *, failed: bool = False) -> Body:
    """Return the HTTP answer of an error; with `failed` it is a question that could not be processed."""
    code, message = _verdict(fault, failed=failed)
    return Body(code, message, _reason(fault))


def _verdict(fault: Fault, *, failed: bool) -> tuple[int, str]:
    """Return code and words of an error."""
    if failed and fault.status >= 500:
        return 500, f"处理失败: {fault.message_zh}"
    return fault.status, fault.message_zh


def _reason(fault: Fault, request_id: str | None = None) -> Reason | None:
    return Reason(request_id, fault.retry_after) if request_id or fault.retry_after else None
