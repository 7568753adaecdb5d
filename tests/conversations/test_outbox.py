"""What must reach somebody outside: stored with what made it necessary, delivered until it has arrived."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from conversations.jobs import Accept, ClaimOutbox, Finish, Letter
from conversations.models import ContactRequest, OutboxEntry, Pipeline
from conversations.outbox import RETRIES, Outbox, Undeliverable, Unwanted
from conversations.store import commit
from conversations.types import Accepted, Outcome, Question
from tests.conversations.doubles import WatchedStore, new_session, question
from tests.support.waiting import eventually

Deliver = Callable[[Letter], Awaitable[None]]


@pytest.fixture
def kind() -> str:
    """A kind of this test's own: others' entries lie in the same table."""
    return uuid4().hex[:16]


async def ask(store: WatchedStore, pipeline: Pipeline, asked: Question) -> Accepted:
    accepted: Accepted = await store.write(Accept(asked, pipeline.pk, uuid4()))
    return accepted


async def answer(store: WatchedStore, pipeline: Pipeline, kind: str, text: str = "The answer.") -> int:
    """Store a question whose answer is to be delivered, and the answer; return the answer's id."""
    worker = uuid4()
    asked = question(new_session(pipeline), "What is it?", notify=kind)
    accepted: Accepted = await store.write(Accept(asked, pipeline.pk, worker))
    assert accepted.turn is not None
    await store.write(Finish(accepted.turn, worker, text, Outcome.ANSWERED))
    return accepted.turn.id


@asynccontextmanager
async def running(store: WatchedStore, kind: str, deliver: Deliver) -> AsyncIterator[Outbox]:
    outbox = Outbox(store, {kind: deliver}, uuid4)
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def entry(store: WatchedStore, message: int) -> OutboxEntry:
    return await store.read(OutboxEntry.objects.get, message_id=message)


async def is_in_state(store: WatchedStore, message: int, state: str) -> bool:
    return (await entry(store, message)).state == state


async def test_an_answer_is_delivered_with_its_question(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    letters: asyncio.Queue[Letter] = asyncio.Queue()
    message = await answer(store, pipeline, kind)
    async with running(store, kind, letters.put):
        letter = await asyncio.wait_for(letters.get(), 10)
        assert (letter.message.id, letter.message.text, letter.attempts) == (message, "The answer.", 0)
        assert letter.question is not None
        assert letter.question.text == "What is it?"
        await eventually(lambda: is_in_state(store, message, "sent"), timeout=10, what="the entry")


async def test_what_fails_is_tried_again_later_and_in_the_end_given_up(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    attempts: list[int] = []

    async def fail(letter: Letter) -> None:
        attempts.append(letter.attempts)
        raise ConnectionError("nobody is there")

    message = await answer(store, pipeline, kind)
    async with running(store, kind, fail) as outbox:
        for attempt in range(len(RETRIES)):

            async def tried(number: int = attempt + 1) -> bool:
                return (await entry(store, message)).attempts == number

            await eventually(tried, timeout=10, what="the entry")
            row = await entry(store, message)
            assert row.error == "nobody is there"
            assert row.due_at > timezone.now() + timedelta(seconds=RETRIES[attempt] - 60)
            due = OutboxEntry.objects.filter(message_id=message)
            await store.read(due.update, due_at=timezone.now())
            outbox.wake()
        await eventually(lambda: is_in_state(store, message, "failed"), timeout=10, what="the entry")
    assert attempts == list(range(len(RETRIES) + 1))


async def test_what_can_never_be_delivered_is_given_up_at_once(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    async def refuse(_letter: Letter) -> None:
        raise Undeliverable("no such address")

    message = await answer(store, pipeline, kind)
    async with running(store, kind, refuse):
        await eventually(lambda: is_in_state(store, message, "failed"), timeout=10, what="the entry")
    assert (await entry(store, message)).error == "no such address"


async def test_what_nobody_wants_is_settled_without_an_error(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    async def skip(_letter: Letter) -> None:
        raise Unwanted

    message = await answer(store, pipeline, kind)
    async with running(store, kind, skip):
        await eventually(lambda: is_in_state(store, message, "sent"), timeout=10, what="the entry")
    assert (await entry(store, message)).error == ""


async def test_an_entry_is_claimed_by_one_worker(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    message = await answer(store, pipeline, kind)
    first = await store.write(ClaimOutbox(uuid4(), (kind,)))
    second = await store.write(ClaimOutbox(uuid4(), (kind,)))
    assert ([letter.message.id for letter in first], second) == ([message], [])


async def test_a_contact_request_is_stored_with_its_message_and_what_tells_the_owner(
    store: WatchedStore, pipeline: Pipeline
) -> None:
    uuid = uuid4()
    asked = question(new_session(pipeline), "Please call me.", wants_answer=False, contact=uuid, user_agent="Browser")
    accepted = await ask(store, pipeline, asked)
    row = await store.read(ContactRequest.objects.get, uuid=uuid)
    assert (row.message_id, row.state, row.user_agent, row.escalated) == (
        accepted.message.id, "received", "Browser", False,
    )  # fmt: skip
    entries = OutboxEntry.objects.filter(message_id=accepted.message.id).values_list("kind", flat=True)
    assert await store.read(lambda: set(entries)) == {"email", "webhook"}


def test_the_same_request_again_opens_nothing_twice(pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    asked = [
        question(session, "Call me.", wants_answer=False, contact=uuid4(), client_msg_id="again") for _ in range(2)
    ]
    first, second = commit([Accept(one, pipeline.pk, uuid4()) for one in asked])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert ContactRequest.objects.filter(message__session__uuid=session.uuid).count() == 1
