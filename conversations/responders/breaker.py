"""A breaker: whoever failed too often in a row is left alone for a while, then asked once to find out. Pure."""

import time
from collections.abc import Callable

FAILURES = 5  # in a row, and it opens
REST = 30.0  # seconds until one call may find out


class Breaker:
    """Judges something by what became of its calls: closed lets every call through, open none.

    A call that was let through brings the number that it was given back, once, with how it ended. One that began
    before the breaker last opened or closed says nothing of how things stand now, and is not heard.
    """

    def __init__(
        self, *, failures: int = FAILURES, rest: float = REST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._rest = rest
        self._clock = clock
        self._failures = 0
        self._rests_until: float | None = None
        self._probing = False
        self._number = 0  # how often it opened or closed

    @property
    def is_closed(self) -> bool:
        """Tell whether every call is let through."""
        return self._rests_until is None

    @property
    def rests(self) -> bool:
        """Tell whether no call is let through now."""
        return self._rests_until is not None and (self._probing or self._clock() < self._rests_until)

    def admit(self) -> int | None:
        """Let a call through and return its number, or return None; after a rest, one call at a time finds out."""
        if self.rests:
            return None
        self._probing = not self.is_closed
        return self._number

    def succeeded(self, number: int) -> bool:
        """Hear of a success; tell whether it closed the breaker."""
        if number != self._number:
            return False
        self._failures = 0
        if self.is_closed:
            return False
        self._switch(None)
        return True

    def failed(self, number: int) -> bool:
        """Hear of a failure; tell whether it opened the breaker, or left it open for another rest."""
        if number != self._number:
            return False
        self._failures += 1
        if self.is_closed and self._failures < self._most:
            return False
        self._switch(self._clock() + self._rest)
        return True

    def ended(self, number: int) -> None:
        """Hear of an end that says neither: where it was to find out, the next call is."""
        if number == self._number:
            self._probing = False

    def _switch(self, rests_until: float | None) -> None:
        self._rests_until = rests_until
        self._probing = False
        self._number += 1
