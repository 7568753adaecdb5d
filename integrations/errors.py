"""What an exception means to a client: one table, exception → text, close code, HTTP status.

Handlers raise; the consumer and the views look here.
"""

import msgspec

from conversations.store import OutcomeUnknown, Refused, StoreClosed, StoreFull, StoreUnavailable
from conversations.turns import PipelineMissing
from integrations.strict import ProtocolError

# Close codes of ours (wire/README.md): 40xx do not reconnect, 41xx back off first.
NORMAL = 1000
POLICY = 1008
RESTARTING = 1012
TRY_LATER = 1013
NOT_AUTHENTICATED = 4001
NOT_ALLOWED = 4003
NO_SUCH_PIPELINE = 4004
TOO_SLOW = 4108


class WireError(Exception):
    """An answer of no, with its text; `close_code` ends the connection."""

    def __init__(self, message: str, *, close_code: int | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.status = status


class Fault(msgspec.Struct, frozen=True):
    """An error as a client is told it. `retry_after` is in seconds."""

    message: str
    close_code: int | None = None
    status: int = 500
    retry_after: int | None = None
    expected: bool = True


_TABLE: tuple[tuple[type[Exception], int | None, int, int | None], ...] = (
    # exception, close code, HTTP status, retry after
    (ProtocolError, None, 400, None),
    (Refused, None, 409, None),
    (StoreFull, None, 503, 1),
    (StoreUnavailable, None, 503, 5),
    (OutcomeUnknown, None, 503, 5),
    (StoreClosed, RESTARTING, 503, 1),
)


def fault_of(error: Exception) -> Fault:
    """Return what a client is told of `error`; `expected` false marks one that is our own mistake."""
    if isinstance(error, WireError):
        return Fault(str(error), error.close_code, error.status)
    if isinstance(error, PipelineMissing):
        return Fault("Pipeline not found", NO_SUCH_PIPELINE, 404)
    for kind, close_code, status, retry_after in _TABLE:
        if isinstance(error, kind):
            return Fault(str(error), close_code, status, retry_after)
    return Fault("Internal server error", expected=False)
