"""The one table of errors: what a client is told of each exception."""

import pytest

from conversations.jobs import IdReused, QueueFull
from conversations.store import OutcomeUnknown, Refused, StoreClosed, StoreFull, StoreUnavailable
from conversations.turns import PipelineMissing
from integrations.errors import NO_SUCH_PIPELINE, NOT_ALLOWED, RESTARTING, Limited, WireError, fault_of
from integrations.strict import ProtocolError


@pytest.mark.parametrize(
    ("error", "message", "close_code", "status", "retry_after"),
    [
        (ProtocolError("text is required"), "text is required", None, 400, None),
        (IdReused("used with another text"), "used with another text", None, 409, None),
        (QueueFull("wait"), "wait", None, 429, 5),
        (Refused("no"), "no", None, 409, None),
        (StoreFull("busy"), "busy", None, 503, 1),
        (StoreUnavailable("no database"), "no database", None, 503, 5),
        (OutcomeUnknown("perhaps"), "perhaps", None, 503, 5),
        (StoreClosed("stopping"), "stopping", RESTARTING, 503, 1),
        (PipelineMissing(), "Pipeline not found", NO_SUCH_PIPELINE, 404, None),
        (WireError("Forbidden", close_code=NOT_ALLOWED, status=403), "Forbidden", NOT_ALLOWED, 403, None),
        (WireError("not now"), "not now", None, 400, None),
        (Limited(7), "Too many requests, please try again in 7 seconds.", None, 429, 7),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_expected_error_keeps_its_words(
    error: Exception, message: str, close_code: int | None, status: int, retry_after: int | None
) -> None:
    fault = fault_of(error)
    assert (fault.message, fault.close_code, fault.status, fault.retry_after) == (
        message, close_code, status, retry_after,
    )  # fmt: skip
    assert fault.expected


@pytest.mark.parametrize(
    "error",
    [IdReused(""), QueueFull(""), StoreFull(""), StoreUnavailable(""), OutcomeUnknown(""), StoreClosed(""), Limited(1)],
    ids=lambda error: type(error).__name__,
)
def test_what_a_visitor_may_meet_is_said_in_chinese_too(error: Exception) -> None:
    assert any("\u4e00" <= character <= "\u9fff" for character in fault_of(error).message_zh)


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), RuntimeError("secret")])
def test_a_mistake_of_ours_tells_nothing_of_itself(error: Exception) -> None:
    fault = fault_of(error)
    assert (fault.message, fault.message_zh) == ("Internal server error", "服务器内部错误")
    assert (fault.status, fault.expected) == (500, False)


def test_a_subclass_is_told_like_its_kind() -> None:
    class Narrower(StoreUnavailable):
        pass

    assert fault_of(Narrower("gone")).status == 503
