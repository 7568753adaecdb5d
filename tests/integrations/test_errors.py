"""The one table of errors: what a client is told of each exception."""

import pytest

from conversations.store import OutcomeUnknown, Refused, StoreClosed, StoreFull, StoreUnavailable
from conversations.turns import PipelineMissing
from integrations.errors import NO_SUCH_PIPELINE, NOT_ALLOWED, RESTARTING, Fault, WireError, fault_of
from integrations.strict import ProtocolError


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ProtocolError("text is required"), Fault("text is required", status=400)),
        (Refused("used with another text"), Fault("used with another text", status=409)),
        (StoreFull("busy"), Fault("busy", status=503, retry_after=1)),
        (StoreUnavailable("no database"), Fault("no database", status=503, retry_after=5)),
        (OutcomeUnknown("perhaps"), Fault("perhaps", status=503, retry_after=5)),
        (StoreClosed("stopping"), Fault("stopping", RESTARTING, 503, 1)),
        (PipelineMissing(), Fault("Pipeline not found", NO_SUCH_PIPELINE, 404)),
        (WireError("Forbidden", close_code=NOT_ALLOWED, status=403), Fault("Forbidden", NOT_ALLOWED, 403)),
        (WireError("not now"), Fault("not now", None, 400)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_expected_error_keeps_its_words(error: Exception, fault: Fault) -> None:
    assert fault_of(error) == fault
    assert fault.expected


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), RuntimeError("secret")])
def test_a_mistake_of_ours_tells_nothing_of_itself(error: Exception) -> None:
    assert fault_of(error) == Fault("Internal server error", status=500, expected=False)


def test_a_subclass_is_told_like_its_kind() -> None:
    class Narrower(StoreUnavailable):
        pass

    assert fault_of(Narrower("gone")).status == 503
