"""What one socket is owed: its questions that have no end yet, which answers it is told, and when it has them all."""

import asyncio
from collections import Counter
from contextlib import suppress

from conversations.types import StoredMessage

UNNAMED = ""  # under which questions without an id of the client's are counted
DOUBTS = 64  # questions of one socket that may have been stored or not; the oldest counts as not stored then


class Owed:
    """Counts questions by the client's id; a question asked twice under one id has one answer."""

    def __init__(self) -> None:
        self._unstored: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._doubtful: Counter[str] = Counter()  # of the unstored, those that are not waited for
        self._requests: dict[int, str] = {}  # of stored questions that wait for an answer, by their message's id
        self._is_stored = asyncio.Event()
        self._is_settled = asyncio.Event()
        self._look()

    def ask(self, request_id: str, *, wants_answer: bool = True) -> None:
        """Note that a question is on its way to the store, or words that want no answer."""
        self._unstored[request_id] += 1
        if wants_answer:
            self._unanswered[request_id] += 1
        self._look()

    def refuse(self, request_id: str) -> None:
        """Note that a question was not taken."""
        self._unstored[request_id] -= 1
        self._unanswered[request_id] -= 1
        self._look()

    def doubt(self, request_id: str) -> None:
        """Note that a question may have been taken or not: it is owed an answer, but nobody waits for it."""
        self._doubtful[request_id] += 1
        if self._doubtful.total() > DOUBTS:
            oldest = next(iter(self._doubtful))
            self._doubtful[oldest] -= 1
            self.refuse(oldest)
        self._look()

    def expect_none(self, request_id: str) -> None:
        """Note that a question is stored and gets no answer: a person has the conversation."""
        self._unanswered[request_id] -= 1
        self._look()

    def store(self, question: StoredMessage) -> None:
        """Note that the socket is told that a question was stored."""
        name = question.request_id
        self._unstored[name] -= 1
        if name != UNNAMED and self.is_waiting(name):
            self._requests[question.id] = name
        self._look()

    def request_of(self, question_id: int | None) -> str | None:
        """Return the client's id of a stored question, or None where it has none."""
        return self._requests.get(question_id or 0)

    def is_waiting(self, request_id: str) -> bool:
        """Tell whether a question of that id has no answer yet."""
        return self._unanswered[request_id] > 0

    def unacknowledged(self, answer: StoredMessage) -> int:
        """Return how often what has this answer was asked by name without the socket being told that it is stored."""
        name = answer.request_id
        return self._unstored[name] if name != UNNAMED and self.is_waiting(name) else 0

    def answer(self, message: StoredMessage, connection_id: str) -> bool:
        """Note an answer; tell whether it is to a question of this socket that had none yet."""
        self._requests.pop(message.question_id or 0, None)
        name = message.request_id
        if not self.is_waiting(name) or (name == UNNAMED and message.reply_to != connection_id):
            return False
        if name == UNNAMED:
            self._unanswered[name] -= 1
        else:
            del self._unstored[name], self._unanswered[name]
        self._look()
        return True

    async def stored(self, seconds: float) -> None:
        """Wait until the socket was told of every question that it is stored or refused, at most `seconds`."""
        await _wait(self._is_stored, seconds)

    async def settled(self, seconds: float) -> None:
        """Wait until every question has its end, but no longer than `seconds`."""
        await _wait(self._is_settled, seconds)

    def _look(self) -> None:
        """Forget what has come to nothing, and see what is still waited for."""
        self._unstored, self._unanswered = +self._unstored, +self._unanswered
        self._doubtful &= self._unstored
        stored = self._unstored <= self._doubtful
        _tell(self._is_stored, stored)
        _tell(self._is_settled, stored and self._unanswered <= self._doubtful)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _tell(event: asyncio.Event, state: bool) -> None:
    if state:
        event.set()
    else:
        event.clear()
