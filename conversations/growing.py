"""HTML of answers that grow, at a bounded cost: each has its share of a processor's time, and all together theirs."""

import time
from collections import OrderedDict
from collections.abc import Callable

from conversations import markdown
from conversations.markdown import Growing

GROWING = 1000  # answers that grow whose HTML is remembered; of the oldest beyond it all is made anew
# What HTML of growing answers may cost of a processor's time: one of them, and all together; else a delta is left out.
SHARE_OF_ANSWER = 0.05
SHARE = 0.25
AT_ONCE = 0.2  # seconds that all together may be ahead of their share


class _Answer:
    """An answer that grows; before `due` it is not rendered again."""

    __slots__ = ("due", "html")

    def __init__(self) -> None:
        self.html = Growing()
        self.due = 0.0


class GrowingAnswers:
    """Renders answers while they grow, and as they end."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        share: float = SHARE,
    ) -> None:
        self._clock = clock
        self._spent = spent
        self._share = share
        self._due = 0.0
        self._growing: OrderedDict[int, _Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._growing)

    def grow(self, id_: int, text: str) -> str | None:
        """Return the HTML of an answer so far, None where it is not its time yet."""
        answer, now = self._answer(id_), self._clock()
        if now < answer.due or now < self._due - AT_ONCE:
            return None
        began = self._spent()
        html = answer.html.grow(text)
        cost = self._spent() - began
        answer.due = now + cost / SHARE_OF_ANSWER
        self._charge(now, cost)
        return html

    def finish(self, id_: int, text: str) -> str:
        """Return the HTML of an answer that has ended: it is told at any cost, deltas make up for it."""
        answer = self._growing.pop(id_, None)
        began = self._spent()
        html = answer.html.finish(text) if answer else markdown.render(text)
        self._charge(self._clock(), self._spent() - began)
        return html

    def forget(self, id_: int) -> None:
        """Remember an answer no more."""
        self._growing.pop(id_, None)

    def _charge(self, now: float, cost: float) -> None:
        """Count what was spent for all answers together."""
        self._due = max(self._due, now) + cost / self._share

    def _answer(self, id_: int) -> _Answer:
        answer = self._growing.get(id_)
        if answer is None:
            if len(self._growing) >= GROWING:
                self._growing.popitem(last=False)
            answer = self._growing[id_] = _Answer()
        return answer
