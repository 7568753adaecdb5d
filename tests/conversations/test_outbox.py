"""What must reach somebody outside: stored with what made it necessary, delivered until it has arrived."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from conversations.jobs import Accept, ClaimOutbox, Letter, SettleOutbox
from conversations.jobs.outbox import CLAIMED_FOR, RETRIES, SHARE
from conversations.models import ContactRequest, OutboxEntry, Pipeline
from conversations.outbox import AT_ONCE, PATIENCE, Outbox, Undeliverable, Unwanted
from conversations.store import Job, StoreUnavailable, commit
from conversations.types import Accepted, Question
from tests.conversations.doubles import Watch, WatchedStore, new_session, question
from tests.conversations.letters import answer, answers, ids
from tests.support.waiting import eventually

Deliver = Callable[[Letter], Awaitable[None]]


async def ask(store: WatchedStore, pipeline: Pipeline, asked: Question) -> Accepted:
    accepted: Accepted = await store.write(Accept(asked, pipeline.pk, uuid4()))
    return accepted


@asynccontextmanager
async def running(store: WatchedStore, kind: str, deliver: Deliver, **others: Deliver) -> AsyncIterator[Outbox]:
    worker = uuid4()
    outbox = Outbox(store, {kind: deliver, **others}, lambda: worker)
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


async def test_what_nobody_wants_is_settled_and_says_why(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    async def skip(_letter: Letter) -> None:
        raise Unwanted("nobody is there")

    message = await answer(store, pipeline, kind)
    async with running(store, kind, skip):
        await eventually(lambda: is_in_state(store, message, "sent"), timeout=10, what="the entry")
    assert (await entry(store, message)).error == "nobody is there"


def test_a_claim_outlasts_a_delivery_and_its_note() -> None:
    assert CLAIMED_FOR > 2 * PATIENCE


# --- Side by side ------------------------------------------------------------------------------


@pytest.mark.parametrize("of_another", ["kind", "application", "pipeline"])
async def test_a_receiver_that_hangs_holds_up_nobody_elses(
    store: WatchedStore, pipeline: Pipeline, kind: str, of_another: str
) -> None:
    watch = Watch()
    hanging: list[Letter] = []
    arrived: list[Letter] = []
    house = uuid4().hex[:16]
    messages: list[int] = []

    async def deliver(letter: Letter) -> None:
        is_ours = letter.message.id in messages
        (arrived if is_ours else hanging).append(letter)
        watch.note()
        if not is_ours:
            await asyncio.Event().wait()

    for _ in range(2 * AT_ONCE):
        await answer(store, pipeline, kind)
    async with running(store, kind, deliver, **{house: deliver}) as outbox:
        await watch.until(lambda: len(hanging) == SHARE)
        other = (
            await store.read(lambda: Pipeline.objects.create(name="Other")) if of_another == "pipeline" else pipeline
        )
        application = uuid4() if of_another == "application" else None
        at = house if of_another == "kind" else kind
        messages.append(await answer(store, other, at, application=application))
        outbox.wake()
        await watch.until(lambda: arrived)
        assert (ids(arrived), len(hanging)) == (messages, SHARE)


async def test_two_workers_deliver_a_sessions_entries_once_and_in_order(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    """While a slow receiver has one, both workers look for more, and find those of others only."""
    begun: list[int] = []
    answered: asyncio.Queue[None] = asyncio.Queue()
    watch = Watch()

    async def slow(letter: Letter) -> None:
        begun.append(letter.message.id)
        watch.note()
        if letter.message.id in messages:
            await answered.get()

    def have_begun(number: int) -> Callable[[], bool]:
        return lambda: len(begun) == number

    other = WatchedStore()
    messages = await answers(store, pipeline, kind, 5)
    try:
        async with running(store, kind, slow) as one, running(other, kind, slow) as two:
            for number in range(1, 6):
                await watch.until(have_begun(2 * number - 1))
                claims = [sum(isinstance(job, ClaimOutbox) for job in each.jobs) for each in (store, other)]
                await answer(store, pipeline, kind)
                one.wake()
                two.wake()
                await watch.until(have_begun(2 * number))
                for each, before in zip((store, other), claims, strict=True):
                    await each.given(ClaimOutbox, before + 1)
                answered.put_nowait(None)
            await eventually(lambda: is_in_state(store, messages[-1], "sent"), timeout=10, what="the last entry")
    finally:
        await other.stop()
    assert [message for message in begun if message in messages] == messages


async def test_many_entries_at_once_are_delivered_a_few_at_a_time(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    watch = Watch()
    under_way: list[int] = []
    delivered: list[int] = []
    most = 0
    messages = [await answer(store, pipeline, kind, application=uuid4()) for _ in range(200)]

    async def deliver(letter: Letter) -> None:
        nonlocal most
        under_way.append(letter.message.id)
        most = max(most, len(under_way))
        watch.note()
        await watch.until(lambda: most == AT_ONCE)
        under_way.remove(letter.message.id)
        delivered.append(letter.message.id)
        watch.note()

    async with running(store, kind, deliver):
        await watch.until(lambda: len(delivered) == len(messages))
    assert (sorted(delivered), most) == (messages, AT_ONCE)


async def test_a_delivery_is_noted_when_the_database_is_back(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    class Away(WatchedStore):
        """Takes no note of the first delivery."""

        def submit(self, job: Job) -> "asyncio.Future[Any]":
            if isinstance(job, SettleOutbox) and not any(isinstance(each, SettleOutbox) for each in self.jobs):
                self._note(job)
                raise StoreUnavailable("The database cannot be written now, please try again.")
            return super().submit(job)

    delivered: list[Letter] = []

    async def deliver(letter: Letter) -> None:
        delivered.append(letter)

    message = await answer(store, pipeline, kind)
    away = Away()
    try:
        async with running(away, kind, deliver):
            await eventually(lambda: is_in_state(store, message, "sent"), timeout=10, what="the entry")
    finally:
        await away.stop()
    assert ids(delivered) == [message]


# --- Contact requests --------------------------------------------------------------------------


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


async def test_what_is_under_way_is_settled_when_it_drains_and_nothing_more_begins(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def deliver(_: Letter) -> None:
        begun.set()
        await go_on.wait()

    message = await answer(store, pipeline, kind)
    async with running(store, kind, deliver) as outbox:
        await asyncio.wait_for(begun.wait(), 10)
        draining = asyncio.create_task(outbox.drain(10))
        await asyncio.sleep(0)
        later = await answer(store, pipeline, kind)
        outbox.wake()
        go_on.set()
        await draining
        assert await is_in_state(store, message, "sent")
        assert await is_in_state(store, later, "waiting")


async def test_it_drains_for_so_long_as_it_may(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    begun = asyncio.Event()

    async def hang(_: Letter) -> None:
        begun.set()
        await asyncio.Event().wait()

    message = await answer(store, pipeline, kind)
    async with running(store, kind, hang) as outbox:
        await asyncio.wait_for(begun.wait(), 10)
        await outbox.drain(0.05)
        assert await is_in_state(store, message, "waiting")
    await Outbox(store, {}, uuid4).drain(10)  # nothing runs: nothing to wait for
