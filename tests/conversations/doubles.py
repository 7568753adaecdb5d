"""Stand-ins for what a conversation meets: responders that keep to a script, and who hears of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from conversations.models import Pipeline
from conversations.responders.base import Ask
from conversations.store import Job, Store
from conversations.turns import TurnRunner
from conversations.types import (
    ControlTopic,
    Event,
    MessageStored,
    Question,
    Reply,
    ReplyDelta,
    Role,
    SessionKey,
    SessionTopic,
    StoredMessage,
)

PATIENCE = 10.0  # seconds that a condition may take to come true
Step = str | Reply | Exception | asyncio.Event


class ScriptedResponder:
    """Answers each question by its script: says text, waits for events, raises exceptions."""

    def __init__(self, *script: Step, wants_history: bool = False, repeatable: bool = True) -> None:
        self.script = script
        self.wants_history = wants_history
        self.repeatable = repeatable
        self.asked: list[Ask] = []
        self.closed = 0

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        """Follow the script, then end with a Reply unless the script had one."""
        self.asked.append(ask)
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
            if not any(isinstance(step, Reply) for step in self.script):
                yield Reply()
        finally:
            self.closed += 1


class Echo:
    """Answers a question with itself."""

    wants_history = False
    repeatable = True

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        yield "You said: "
        await asyncio.sleep(0)  # lets others in, as every real responder does
        yield ask.question
        yield Reply()


class Talker:
    """Says the same word again and again, at a pace, until told to end."""

    wants_history = False

    def __init__(self, word: str, *, pace: float, repeatable: bool = True) -> None:
        self.word = word
        self.pace = pace
        self.repeatable = repeatable
        self.enough = asyncio.Event()
        self.said = 0

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        while not self.enough.is_set():
            self.said += 1
            yield self.word
            try:
                await asyncio.wait_for(self.enough.wait(), self.pace)
            except TimeoutError:
                continue
        yield Reply()


class Watch:
    """Lets a test wait until what it observes has happened."""

    def __init__(self) -> None:
        self._happened = asyncio.Event()

    def note(self) -> None:
        """Look again at every condition that is waited for."""
        self._happened.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return once `condition()` holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._happened.clear()
                await self._happened.wait()


class WatchedStore(Store):
    """A real store that shows what it was given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.jobs: list[Job] = []
        self.watch = Watch()

    def submit(self, job: Job) -> "asyncio.Future[Any]":
        future = super().submit(job)
        self._note(job)
        return future

    async def given(self, kind: type[Job], times: int = 1) -> None:
        """Wait until so many jobs of a class were given."""
        await self.watch.until(lambda: sum(isinstance(job, kind) for job in self.jobs) >= times)

    def _note(self, job: Job) -> None:
        self.jobs.append(job)
        self.watch.note()


class Audience:
    """Hears every event in order; what is asked of the processes it hands to its runners, as the hub would."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []  # of each event, on the loop's clock
        self.runners: list[TurnRunner] = []
        self._watch = Watch()

    def publish(self, topic: SessionTopic | ControlTopic, event: Event) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())
        self._watch.note()
        if isinstance(topic, ControlTopic):
            for runner in self.runners:
                asyncio.get_running_loop().call_soon(runner.on_control, event)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return once `condition()` holds, looked at with every event."""
        await self._watch.until(condition)

    async def answers(self, count: int = 1) -> list[StoredMessage]:
        """Wait for so many answers and return all there are."""
        await self.until(lambda: len(self._stored(Role.ASSISTANT)) >= count)
        return self._stored(Role.ASSISTANT)

    def deltas(self) -> list[str]:
        """Return the text of each delta."""
        return [event.text for event in self.events if isinstance(event, ReplyDelta)]

    def questions(self) -> list[StoredMessage]:
        """Return the questions told of."""
        return self._stored(Role.USER)

    def _stored(self, role: Role) -> list[StoredMessage]:
        messages = [event.message for event in self.events if isinstance(event, MessageStored)]
        return [message for message in messages if message.role == role]


def new_session(pipeline: Pipeline | UUID) -> SessionKey:
    """Return the key of a person's session that does not exist yet."""
    return SessionKey(uuid4(), pipeline.uuid if isinstance(pipeline, Pipeline) else pipeline, "person")


def question(session: SessionKey, text: str = "What is it?", **fields: Any) -> Question:
    """Return a question of a session."""
    return Question(session=session, wire="langbot", text=text, **fields)


def texts(messages: Sequence[StoredMessage]) -> list[str]:
    """Return the text of each message."""
    return [message.text for message in messages]
