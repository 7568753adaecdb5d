"""The hub's writes, many of a kind at once."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from connections import selectors
from connections.jobs import EndWorker, Register, Reopen
from connections.mail import (
    OFFLINE_LETTERS,
    ClaimClient,
    Claimed,
    Deliver,
    HandedOver,
    HeldBy,
    Outcome,
    PurgeLetters,
    ReleaseClient,
)
from connections.models import HubClient, MailboxLetter

pytestmark = pytest.mark.django_db


def new_worker() -> UUID:
    worker = uuid4()
    Register.apply([Register(worker, "host", 1)])
    return worker


def claim(client_id: str, worker: UUID, start_time: int | None = None, over: UUID | None = None) -> tuple[UUID, object]:
    """Claim a name for a new connection; return it and the result."""
    connection = uuid4()
    (result,) = ClaimClient.apply([ClaimClient(client_id, connection, worker, start_time, None, over)])
    return connection, result


def claimed(client_id: str, worker: UUID) -> tuple[UUID, Claimed]:
    connection, result = claim(client_id, worker)
    assert isinstance(result, Claimed)
    return connection, result


def deliver(text: str, *recipients: str, keep: bool = True) -> tuple[Outcome, ...]:
    (outcomes,) = Deliver.apply([Deliver(text, recipients, keep)])
    return tuple(outcomes)


def test_only_a_newer_start_time_takes_a_name() -> None:
    worker = new_worker()
    first, result = claim("用户1", worker, 5)
    assert isinstance(result, Claimed)
    assert result.replaced is None
    for older in (4, 5):
        assert claim("用户1", worker, older)[1] == HeldBy(first)
    second, result = claim("用户1", worker, 6)
    assert isinstance(result, Claimed)
    assert result.replaced == first
    third, result = claim("用户1", worker)
    assert isinstance(result, Claimed)
    assert result.replaced == second
    assert HubClient.objects.get().connection == third


def test_a_holder_that_was_found_dead_is_passed_over() -> None:
    worker = new_worker()
    first, _ = claim("a", worker, 5)
    assert claim("a", worker, 5, over=uuid4())[1] == HeldBy(first)
    assert isinstance(claim("a", worker, 5, over=first)[1], Claimed)


def test_a_name_is_free_with_its_connection_or_its_worker() -> None:
    worker, other = new_worker(), new_worker()
    first, _ = claim("a", worker, 5)
    ReleaseClient.apply([ReleaseClient("a", uuid4()), ReleaseClient("b", first)])
    assert claim("a", other, 5)[1] == HeldBy(first)
    ReleaseClient.apply([ReleaseClient("a", first)])
    assert isinstance(claim("a", worker, 5)[1], Claimed)
    EndWorker.apply([EndWorker(worker)])
    assert not selectors.is_connected("a")
    assert isinstance(claim("a", other, 5)[1], Claimed)


def test_a_worker_that_was_only_asleep_keeps_the_names_that_nobody_took() -> None:
    asleep, other, again = new_worker(), new_worker(), new_worker()
    kept, _ = claim("kept", asleep)
    lost, _ = claim("lost", asleep)
    EndWorker.apply([EndWorker(asleep)])
    taker, _ = claim("lost", other)
    Reopen.apply([Reopen(again, (kept, lost))])
    assert selectors.is_connected("kept")
    names = HubClient.objects.values_list("client_id", "connection", "worker")
    assert set(names) == {("kept", kept, again), ("lost", taker, other)}


def test_letters_get_gap_free_places_in_the_order_they_came() -> None:
    worker = new_worker()
    claimed("here", worker)
    connection, _ = claimed("away", worker)
    ReleaseClient.apply([ReleaseClient("away", connection)])
    jobs = [Deliver(str(number), ("here", "away", "nobody")) for number in range(3)]
    assert Deliver.apply(jobs) == [(Outcome.DELIVERED, Outcome.QUEUED, Outcome.UNKNOWN)] * 3
    for name in ("here", "away"):
        client = HubClient.objects.get(client_id=name)
        assert client.last_seq == 3
        assert selectors.letters_after(client.pk, 0, 10, 10**6) == [(1, "0"), (2, "1"), (3, "2")]
        assert selectors.letters_after(client.pk, 1, 1, 10**6) == [(2, "1")]
        assert selectors.letters_after(client.pk, 0, 10, 2) == [(1, "0"), (2, "1")]
        assert selectors.letters_after(client.pk, 3, 10, 10) == []
    assert not HubClient.objects.filter(client_id="nobody").exists()


def test_what_was_handed_over_is_forgotten_and_stays_so() -> None:
    connection, claim_ = claimed("a", new_worker())
    for number in range(5):
        deliver(str(number), "a")
    HandedOver.apply([HandedOver(claim_.client, 3), HandedOver(claim_.client, 2)])
    assert HandedOver.apply([HandedOver(claim_.client, 1)]) == [None]
    assert list(MailboxLetter.objects.values_list("seq", flat=True)) == [4, 5]
    assert HubClient.objects.get().delivered_seq == 3
    assert selectors.mailboxes([claim_.client]) == {claim_.client: (connection, 5)}


def test_what_is_not_kept_only_tells_who_is_here() -> None:
    worker = new_worker()
    claimed("here", worker)
    connection, _ = claimed("away", worker)
    ReleaseClient.apply([ReleaseClient("away", connection)])
    outcomes = deliver("beat", "here", "away", "nobody", keep=False)
    assert outcomes == (Outcome.DELIVERED, Outcome.AWAY, Outcome.UNKNOWN)
    assert not MailboxLetter.objects.exists()


def test_a_mailbox_is_bounded_and_old_letters_go() -> None:
    connection, claim_ = claimed("a", new_worker())
    ReleaseClient.apply([ReleaseClient("a", connection)])
    results = Deliver.apply([Deliver("x", ("a",))] * (OFFLINE_LETTERS + 1))
    assert list(results) == [(Outcome.QUEUED,)] * OFFLINE_LETTERS + [(Outcome.FULL,)]
    old = timezone.now() - timedelta(days=7, seconds=1)
    MailboxLetter.objects.filter(seq__lte=600).update(created_at=old)
    assert PurgeLetters.apply([PurgeLetters()]) == [1]
    assert PurgeLetters.apply([PurgeLetters()]) == [0]
    assert selectors.letters_after(claim_.client, 0, 1, 10)[0][0] == 601
    assert deliver("y", "a") == (Outcome.QUEUED,)
