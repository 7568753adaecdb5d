"""The questions of one socket that have no end yet: which answers it is told, and when all of them are."""

import asyncio
from collections import Counter
from contextlib import suppress

from conversations.types import StoredMessage

UNNAMED = ""  # under which questions without an id of the client's are counted


class Asked:
    """Counts questions by the client's id; a question asked twice under one id has one answer."""

    def __init__(self) -> None:
        self._unstored = _Open()
        self._unanswered = _Open()
        self._requests: dict[int, str] = {}  # of stored questions, by their message's id

    def ask(self, request_id: str, *, wants_answer: bool = True) -> None:
        """Note that a question is on its way to the store, or words that want no answer."""
        self._unstored.add(request_id)
        if wants_answer:
            self._unanswered.add(request_id)

    def refuse(self, request_id: str) -> None:
        """Note that a question was not taken."""
        self._unstored.drop(request_id)
        self._unanswered.drop(request_id)

    def store(self, question: StoredMessage) -> None:
        """Note that the socket is told that a question was stored."""
        self._unstored.drop(question.request_id)
        if question.request_id:
            self._requests[question.id] = question.request_id

    def request_of(self, question_id: int | None) -> str | None:
        """Return the client's id of a stored question, or None where it has none."""
        return self._requests.get(question_id or 0)

    def is_waiting(self, request_id: str) -> bool:
        """Tell whether a question of that id has no answer yet."""
        return self._unanswered.count(request_id) > 0

    def is_unacknowledged(self, answer: StoredMessage) -> bool:
        """Tell whether an answer has come to a question, asked by name, of which this socket was told nothing yet."""
        name = answer.request_id
        return name != UNNAMED and self.is_waiting(name) and answer.question_id not in self._requests

    def answer(self, message: StoredMessage, connection_id: str) -> bool:
        """Note an answer; tell whether it is to a question of this socket that had none yet."""
        self._requests.pop(message.question_id or 0, None)
        name = message.request_id
        if not self.is_waiting(name) or (name == UNNAMED and message.reply_to != connection_id):
            return False
        if name == UNNAMED:
            self._unanswered.drop(name)
        else:
            self._unstored.drop(name, self._unstored.count(name))
            self._unanswered.drop(name, self._unanswered.count(name))
        return True

    async def stored(self, seconds: float) -> None:
        """Wait until the socket was told of every question that it is stored or refused, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unstored.none.wait()

    async def settled(self, seconds: float) -> None:
        """Wait until every question has its end, but no longer than `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._unstored.none.wait()
                await self._unanswered.none.wait()


class _Open:
    """Questions that something is still to come of, counted by name; `none` is set while there are none."""

    def __init__(self) -> None:
        self.none = asyncio.Event()
        self.none.set()
        self._names: Counter[str] = Counter()

    def add(self, name: str) -> None:
        self._names[name] += 1
        self.none.clear()

    def count(self, name: str) -> int:
        return self._names[name]

    def drop(self, name: str, count: int = 1) -> None:
        self._names[name] -= count
        self._names = +self._names  # forgets what has come to nothing
        if not self._names:
            self.none.set()
