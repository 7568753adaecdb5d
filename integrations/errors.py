"""What an exception means to a client: one table, exception → words in both languages, close code, HTTP status.

Handlers raise; the consumers and the views look here. A wire says `message` or `message_zh`, in its own shape.
"""

import msgspec

from conversations.jobs.questions import IdReused, QueueFull
from conversations.jobs.uploads import UploadsFull, UploadTaken
from conversations.store import OutcomeUnknown, Refused, StoreClosed, StoreFull, StoreUnavailable
from conversations.turns import PipelineMissing
from integrations.strict import ProtocolError

# Close codes of ours (wire/README.md): 40xx do not reconnect, 41xx back off first.
NORMAL = 1000
POLICY = 1008
TOO_BIG = 1009
RESTARTING = 1012
TRY_LATER = 1013
NOT_AUTHENTICATED = 4001
NOT_ALLOWED = 4003
NO_SUCH_PIPELINE = 4004
REPLACED = 4009
TOO_SLOW = 4108
TOO_MANY = 4129


class WireError(Exception):
    """An answer of no, with its text; `zh` says it in Chinese where it differs. `close_code` ends the connection."""

    def __init__(
        self,
        message: str,
        *,
        zh: str = "",
        close_code: int | None = None,
        status: int = 400,
        retry_after: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.zh = zh or message
        self.close_code = close_code
        self.status = status
        self.retry_after = retry_after
        self.reason = reason


class Limited(WireError):  # noqa: N818  names a state
    """Too much at once; it may be tried again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"Too many requests, please try again in {retry_after} seconds.",
            zh=f"操作过于频繁，请在{retry_after}秒后再试。",
            status=429,
            retry_after=retry_after,
        )


class Fault(msgspec.Struct, frozen=True):
    """An error as a client is told it. `retry_after` is in seconds."""

    message: str
    message_zh: str
    close_code: int | None = None
    status: int = 500
    retry_after: int | None = None
    expected: bool = True
    reason: str = ""  # a word of it for programs: the metrics, of one before the upgrade; pages, of a file


_TABLE: tuple[tuple[type[Exception], str, int | None, int, int | None], ...] = (
    # exception, Chinese words ("" for the exception's own text), close code, HTTP status, retry after
    (ProtocolError, "", None, 400, None),
    (IdReused, "该消息ID已用于其他消息", None, 409, None),
    (QueueFull, "等待回答的问题太多，请稍候再问。", None, 429, 5),
    (UploadTaken, "附件已失效或已在其他会话中发送，请重新上传。", None, 409, None),
    (UploadsFull, "等待发送的文件太多，请稍后再试。", None, 503, 60),
    (Refused, "", None, 409, None),
    (StoreFull, "服务繁忙，请稍后再试。", None, 503, 1),
    (StoreUnavailable, "服务暂时不可用，请稍后再试。", None, 503, 5),
    (OutcomeUnknown, "暂时无法确认消息是否已保存，可以用相同的ID重新发送。", None, 503, 5),
    (StoreClosed, "服务正在重启，请重新发送。", RESTARTING, 503, 1),
)


def fault_of(error: Exception) -> Fault:
    """Return what a client is told of `error`; `expected` false marks one that is our own mistake."""
    text = str(error)
    if isinstance(error, WireError):
        return Fault(text, error.zh, error.close_code, error.status, error.retry_after, reason=error.reason)
    if isinstance(error, PipelineMissing):
        return Fault("Pipeline not found", "流水线不存在", NO_SUCH_PIPELINE, 404)
    for kind, chinese, close_code, status, retry_after in _TABLE:
        if isinstance(error, kind):
            return Fault(text, chinese or text, close_code, status, retry_after)
    return Fault("Internal server error", "服务器内部错误", expected=False)
