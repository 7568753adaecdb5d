"""The outbox's rows: whose turn it is to be claimed, and when they are forgotten."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from django.db.models import F
from django.utils import timezone

from conversations.jobs import ClaimOutbox, Letter, SettleOutbox
from conversations.jobs.outbox import KEPT_FOR, PURGED_AT_ONCE, RETRIES, FreeClaims, PurgeOutbox
from conversations.models import OutboxEntry, Pipeline
from conversations.outbox import AT_ONCE, Outbox
from tests.conversations.doubles import WatchedStore
from tests.conversations.letters import answer, answers, ids

WORKER = uuid4()


@pytest.fixture
async def nothing_settled(store: WatchedStore) -> None:
    """No entry that another test has settled: a purge looks at all of them."""
    await store.read(OutboxEntry.objects.exclude(state=OutboxEntry.State.WAITING).delete)


async def claim(store: WatchedStore, kind: str, room: int = AT_ONCE) -> list[Letter]:
    """Claim as another worker does."""
    letters: list[Letter] = await store.write(ClaimOutbox(WORKER, {kind: room}, {}))
    return letters


async def settle(store: WatchedStore, letter: Letter, *, again: float | None = None) -> None:
    """Note that a letter has arrived, or that it did not and is tried again."""
    await store.write(SettleOutbox(letter.id, letter.message.id, sent=again is None, again=again))


# --- Whose turn it is --------------------------------------------------------------------------


async def test_what_a_dead_worker_had_claimed_is_free_at_once(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    message = await answer(store, pipeline, kind)
    await claim(store, kind)

    async def judge(workers: set[UUID]) -> set[UUID]:
        return workers & {WORKER}

    await Outbox(store, {}, uuid4).take_over(judge)
    assert ids(await claim(store, kind)) == [message]


async def test_what_this_process_delivers_is_its_own_under_a_new_lease_too(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    leases = [uuid4(), uuid4()]
    begun = asyncio.Event()

    async def deliver(_letter: Letter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def judge(workers: set[UUID]) -> set[UUID]:
        return workers & set(leases)

    await answer(store, pipeline, kind)
    outbox = Outbox(store, {kind: deliver}, lambda: leases[-1])
    running = asyncio.create_task(outbox.run())
    await begun.wait()
    leases.append(uuid4())
    await outbox.take_over(judge)
    assert await claim(store, kind) == []
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_an_entry_is_claimed_by_one_worker(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    message = await answer(store, pipeline, kind)
    assert ids(await claim(store, kind)) == [message]
    assert await claim(store, kind) == []


async def test_a_sessions_next_entry_is_claimed_once_the_one_before_is_settled(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    messages = await answers(store, pipeline, kind, 3)
    for message in messages:
        (letter,) = await claim(store, kind)
        assert letter.message.id == message
        assert await claim(store, kind) == [], "while that one is delivered no other is claimed"
        await settle(store, letter)
    assert await claim(store, kind) == []


async def test_an_entry_whose_worker_died_is_claimed_again_before_the_next(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    first, _ = await answers(store, pipeline, kind, 2)
    assert ids(await claim(store, kind)) == [first]
    await store.write(FreeClaims((WORKER,)))
    assert ids(await claim(store, kind)) == [first]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_changes_no_claim(
    store: WatchedStore, pipeline: Pipeline, kind: str, hours: int
) -> None:
    first, _ = await answers(store, pipeline, kind, 2)
    assert ids(await claim(store, kind)) == [first]
    await _shift(store, first, hours)
    assert await claim(store, kind) == []


async def test_what_a_process_forgot_that_it_had_claimed_it_claims_again(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    first, _ = await answers(store, pipeline, kind, 2)
    (letter,) = await claim(store, kind)
    mine = ClaimOutbox(WORKER, {kind: AT_ONCE}, {}, leases=(WORKER,), delivering=(letter.id,))
    assert await store.write(mine) == []
    assert ids(await store.write(msgspec.structs.replace(mine, delivering=()))) == [first]


@pytest.mark.parametrize("attempts", [0, 1])
async def test_what_a_clock_that_was_ahead_has_put_off_is_due(
    store: WatchedStore, pipeline: Pipeline, kind: str, attempts: int
) -> None:
    message = await answer(store, pipeline, kind)
    if attempts:
        (letter,) = await claim(store, kind)
        await settle(store, letter, again=RETRIES[0])
        assert await claim(store, kind) == []
    await _shift(store, message, 1)
    assert ids(await claim(store, kind)) == [message]


async def _shift(store: WatchedStore, message: int, hours: int) -> None:
    """Change the times of a message's entry, as if they were set by a clock that was ahead by so much."""
    by = timedelta(hours=hours)
    entry = OutboxEntry.objects.filter(message_id=message)
    await store.read(entry.update, due_at=F("due_at") + by, claimed_until=F("claimed_until") + by)


async def test_what_waits_for_its_next_attempt_holds_up_nothing_and_goes_first_when_it_is_due(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    first, second, third = await answers(store, pipeline, kind, 3)
    (letter,) = await claim(store, kind)
    await settle(store, letter, again=RETRIES[0] * 10)
    (letter,) = await claim(store, kind)
    assert letter.message.id == second
    await store.read(OutboxEntry.objects.filter(message_id=first).update, due_at=timezone.now())
    assert await claim(store, kind) == [], "another of the session is being delivered"
    await settle(store, letter)
    (letter,) = await claim(store, kind)
    assert letter.message.id == first
    await settle(store, letter)
    assert ids(await claim(store, kind)) == [third]


async def test_no_more_are_claimed_than_there_is_room_for(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    messages = [await answer(store, pipeline, kind) for _ in range(3)]
    assert await claim(store, kind, 0) == []
    assert ids(await claim(store, kind, 2)) == messages[:2]
    assert ids(await claim(store, kind, 2)) == messages[2:]


# --- In the end --------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_settled")
async def test_what_was_settled_long_ago_is_forgotten(store: WatchedStore, pipeline: Pipeline, kind: str) -> None:
    old, recent, waiting = [await answer(store, pipeline, kind) for _ in range(3)]
    for letter in (await claim(store, kind))[:2]:
        await settle(store, letter)
    long_ago = timezone.now() - KEPT_FOR - timedelta(minutes=1)
    await store.read(OutboxEntry.objects.filter(message_id__in=[old, waiting]).update, created_at=long_ago)
    await Outbox(store, {}, uuid4).purge()
    left = OutboxEntry.objects.filter(kind=kind).order_by("id").values_list("message_id", flat=True)
    assert await store.read(lambda: list(left)) == [recent, waiting]


@pytest.mark.usefixtures("nothing_settled")
async def test_a_great_many_are_forgotten_in_several_transactions(
    store: WatchedStore, pipeline: Pipeline, kind: str
) -> None:
    message = await answer(store, pipeline, kind)
    long_ago = timezone.now() - KEPT_FOR - timedelta(minutes=1)
    entries = [
        OutboxEntry(
            kind=kind, message_id=message, state="failed", due_at=long_ago, created_at=long_ago, ended_at=long_ago
        )
        for _ in range(PURGED_AT_ONCE + 1)
    ]
    await store.read(OutboxEntry.objects.bulk_create, entries)
    await Outbox(store, {}, uuid4).purge()
    assert await store.read(OutboxEntry.objects.filter(kind=kind).count) == 1, "the one that waits"
    assert sum(isinstance(job, PurgeOutbox) for job in store.jobs) == 2
