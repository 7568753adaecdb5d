"""The calls of this process to models: how many at once, whether a model is to be asked at all, and what went wrong."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import structlog

from conversations.responders.base import Busy, ResponderError
from conversations.responders.breaker import FAILURES, REST, Breaker

log = structlog.get_logger(__name__)

AT_ONCE = 200  # calls of this process; one more is refused at once


class Failure(StrEnum):
    """Why a call gave no whole answer; the word under which it is counted."""

    UNREACHABLE = "unreachable"  # no connection, or no HTTP response
    LIMITED = "limited"  # status 429
    ERROR = "error"  # status 500 and above
    MISCONFIGURED = "misconfigured"  # status 401, 403 or 404, or an address that is forbidden
    REJECTED = "rejected"  # another status
    SILENT = "silent"  # no first token in time
    STALLED = "stalled"  # nothing more in time
    BROKEN_OFF = "broken_off"
    GARBAGE = "garbage"  # what is no completion
    REPORTED = "reported"  # it said in its stream that it failed
    EMPTY = "empty"
    ENDLESS = "endless"
    BUSY = "busy"  # not made: too many here
    RESTING = "resting"  # not made: the breaker is open


# What the model is to blame for. A request that it will not take, a filter that struck, words without end: a visitor
# can bring these about, and would take the model away from everybody.
_BLAMED = {
    Failure.UNREACHABLE, Failure.LIMITED, Failure.ERROR, Failure.SILENT, Failure.STALLED, Failure.BROKEN_OFF,
    Failure.GARBAGE,
}  # fmt: skip


class ModelError(ResponderError):
    """A model cannot answer, or broke off."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(reason)
        self.failure = failure


class Calls:
    """Lets calls through, as many as there is room for, and none to a model that failed too often in a row.

    Each model has a breaker of its own: providers limit and lose them one by one. There are as many as staff names in
    routes. `on_failure` hears a Failure, `on_switch` "opened" or "closed".
    """

    def __init__(
        self,
        *,
        at_once: int = AT_ONCE,
        failures: int = FAILURES,
        rest: float = REST,
        on_failure: Callable[[Failure], None] = lambda _: None,
        on_switch: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.in_flight = 0
        self._at_once = at_once
        self._rest = rest
        self._on_failure = on_failure
        self._on_switch = on_switch
        self._breakers: defaultdict[str, Breaker] = defaultdict(
            lambda: Breaker(failures=failures, rest=rest, clock=clock)
        )

    @property
    def resting(self) -> int:
        """The number of models that are left alone now."""
        return sum(not breaker.is_closed for breaker in self._breakers.values())

    def admits(self, model: str) -> bool:
        """Tell whether a call would be made now."""
        return self.in_flight < self._at_once and not self._breakers[model].rests

    @contextmanager
    def call(self, model: str) -> Iterator[Breaker]:
        """Make a call within the block; raise Busy or ModelError where it is not to be made.

        A ModelError that ends the block is counted and, where the model is to blame for it, held against it. An end by
        any other exception says nothing of it: whoever asked has left, or his time was up.
        """
        if self.in_flight >= self._at_once:
            self._on_failure(Failure.BUSY)
            raise Busy(f"{self.in_flight} calls to models are under way")
        breaker = self._breakers[model]
        number = breaker.admit()
        if number is None:
            self._on_failure(Failure.RESTING)
            raise ModelError(f"{model} failed too often and is left alone", Failure.RESTING)
        self.in_flight += 1
        try:
            yield breaker
        except ModelError as error:
            self._on_failure(error.failure)
            if error.failure in _BLAMED and breaker.failed(number):
                self._on_switch("opened")
                log.warning("model.resting", model=model, seconds=self._rest, reason=str(error))
            raise
        else:
            if breaker.succeeded(number):
                self._on_switch("closed")
                log.info("model.recovered", model=model)
        finally:
            breaker.ended(number)
            self.in_flight -= 1
