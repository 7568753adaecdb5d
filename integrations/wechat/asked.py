"""The questions of one socket that have no end yet: which answers it is told, and when all of them are."""

import asyncio
from collections import Counter

from conversations.types import StoredMessage

UNNAMED = ""  # under which questions without an id of the client's are counted


class Asked:
    """Counts questions by the client's id; a question asked twice under one id has one answer."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._requests: dict[int, str] = {}  # of stored questions, by their message's id
        self._settled = asyncio.Event()
        self._settled.set()

    def ask(self, request_id: str) -> None:
        """Note that a question is on its way to the store."""
        self._waiting[request_id] += 1
        self._settled.clear()

    def refuse(self, request_id: str) -> None:
        """Note that a question was not taken."""
        self._drop(request_id)

    def store(self, question: StoredMessage) -> None:
        """Note that a question was stored."""
        if question.request_id:
            self._requests[question.id] = question.request_id

    def request_of(self, question_id: int | None) -> str | None:
        """Return the client's id of a stored question, or None where it has none."""
        return self._requests.get(question_id or 0)

    def is_waiting(self, request_id: str) -> bool:
        """Tell whether a question of that id has no answer yet."""
        return self._waiting[request_id] > 0

    def is_unacknowledged(self, answer: StoredMessage) -> bool:
        """Tell whether an answer has come to a question, asked by name, of which this socket was told nothing yet."""
        name = answer.request_id
        return name != UNNAMED and self.is_waiting(name) and answer.question_id not in self._requests

    def answer(self, message: StoredMessage, connection_id: str) -> bool:
        """Note an answer; tell whether it is to a question of this socket that had none yet."""
        self._requests.pop(message.question_id or 0, None)
        name = message.request_id
        if not self._waiting[name] or (name == UNNAMED and message.reply_to != connection_id):
            return False
        if name == UNNAMED:
            self._drop(name)
        else:
            self._drop(name, self._waiting[name])
        return True

    async def settled(self, seconds: float) -> None:
        """Wait until every question has its end, but no longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            return

    def _drop(self, name: str, count: int = 1) -> None:
        self._waiting[name] -= count
        self._waiting = +self._waiting  # forgets what has come to nothing
        if not self._waiting:
            self._settled.set()
