"""Letters of the hub, many at once."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from connections import selectors
from connections.claims import ClaimClient, Claimed, ReleaseClient
from connections.jobs import EndWorker, Register
from connections.mail import Deliver, HandedOver, MailLimits, Outcome, PurgeClients, PurgeLetters
from connections.models import HubClient, MailboxLetter

pytestmark = pytest.mark.django_db

LIMITS = MailLimits(
    letters=100,
    letters_connected=200,
    bytes=10_000,
    letters_for=timedelta(days=7),
    clients=50,
    clients_for=timedelta(days=90),
)


def new_worker() -> UUID:
    worker = uuid4()
    Register.apply([Register(worker, "host", 1)])
    return worker


def claim(
    client_id: str,
    worker: UUID,
    start_time: int | None = None,
    over: UUID | None = None,
    *,
    application: UUID | None = None,
    limits: MailLimits = LIMITS,
) -> tuple[UUID, object]:
    """Claim a name for a new connection; return it and the result."""
    connection = uuid4()
    (result,) = ClaimClient.apply([ClaimClient(client_id, connection, worker, limits, start_time, application, over)])
    return connection, result


def claimed(client_id: str, worker: UUID) -> tuple[UUID, Claimed]:
    connection, result = claim(client_id, worker)
    assert isinstance(result, Claimed)
    return connection, result


def away(client_id: str) -> Claimed:
    """Make a client known that is not connected."""
    connection, result = claimed(client_id, new_worker())
    ReleaseClient.apply([ReleaseClient(client_id, connection)])
    return result


def deliver(text: str, *recipients: str, keep: bool = True, limits: MailLimits = LIMITS) -> tuple[Outcome, ...]:
    (outcomes,) = Deliver.apply([Deliver(text, recipients, limits, keep)])
    return tuple(outcomes)


def waiting() -> tuple[int, int]:
    """Return the bytes that wait for the only client: by its row's count, and by its letters."""
    client = HubClient.objects.get()
    texts = MailboxLetter.objects.values_list("text", flat=True)
    return client.last_byte - client.delivered_byte, sum(len(text.encode()) for text in texts)


def test_letters_get_gap_free_places_in_the_order_they_came() -> None:
    worker = new_worker()
    claimed("here", worker)
    connection, _ = claimed("away", worker)
    ReleaseClient.apply([ReleaseClient("away", connection)])
    jobs = [Deliver(str(number), ("here", "away", "nobody"), LIMITS) for number in range(3)]
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
    claim_ = away("a")
    results = Deliver.apply([Deliver("x", ("a",), LIMITS)] * (LIMITS.letters + 1))
    assert list(results) == [(Outcome.QUEUED,)] * LIMITS.letters + [(Outcome.FULL,)]
    old = timezone.now() - timedelta(days=7, seconds=1)
    MailboxLetter.objects.filter(seq__lte=60).update(created_at=old)
    assert PurgeLetters.apply([PurgeLetters(LIMITS)]) == [1]
    assert PurgeLetters.apply([PurgeLetters(LIMITS)]) == [0]
    assert selectors.letters_after(claim_.client, 0, 1, 10)[0][0] == 61
    assert deliver("y", "a") == (Outcome.QUEUED,)


def test_a_connected_client_has_room_for_more_letters() -> None:
    claimed("a", new_worker())
    results = Deliver.apply([Deliver("x", ("a",), LIMITS)] * (LIMITS.letters_connected + 1))
    assert list(results) == [(Outcome.DELIVERED,)] * LIMITS.letters_connected + [(Outcome.FULL,)]


# --- Bytes -------------------------------------------------------------------------------------


def test_a_mailbox_is_bounded_in_bytes_and_has_room_again_with_what_was_handed_over() -> None:
    client = away("a").client
    text = "天" * 1000  # 3,000 bytes
    assert Deliver.apply([Deliver(text, ("a",), LIMITS)] * 4) == [(Outcome.QUEUED,)] * 3 + [(Outcome.FULL,)]
    assert waiting() == (9000, 9000)
    assert deliver("x" * 1000, "a") == (Outcome.QUEUED,)
    assert deliver("x", "a") == (Outcome.FULL,)
    HandedOver.apply([HandedOver(client, 2)])
    assert waiting() == (4000, 4000)
    assert deliver(text, "a") == (Outcome.QUEUED,)
    HandedOver.apply([HandedOver(client, 1)])
    assert waiting() == (7000, 7000)
    MailboxLetter.objects.filter(seq__lte=4).update(created_at=timezone.now() - timedelta(days=8))
    PurgeLetters.apply([PurgeLetters(LIMITS)])
    assert waiting() == (3000, 3000)
    HandedOver.apply([HandedOver(client, 5)])
    assert waiting() == (0, 0)


def test_an_empty_mailbox_takes_any_letter() -> None:
    away("a")
    assert deliver("x" * 20_000, "a") == (Outcome.QUEUED,)
    assert deliver("x", "a") == (Outcome.FULL,)


def put_by_the_previous_release(client: int, seq: int) -> None:
    """Put a letter in as the previous release does, which knows nothing of bytes."""
    MailboxLetter.objects.create(client_id=client, seq=seq, text="old", created_at=timezone.now())
    HubClient.objects.filter(pk=client).update(last_seq=seq)


def test_what_the_previous_release_did_to_a_mailbox_is_made_good_by_the_next_hand_over() -> None:
    client = away("a").client
    deliver("x" * 9000, "a")
    HubClient.objects.update(delivered_seq=1)  # handed over by it
    MailboxLetter.objects.all().delete()
    assert deliver("x" * 2000, "a") == (Outcome.QUEUED,)
    put_by_the_previous_release(client, 3)
    HandedOver.apply([HandedOver(client, 3)])
    assert waiting() == (0, 0)
    put_by_the_previous_release(client, 4)
    HandedOver.apply([HandedOver(client, 4)])
    assert waiting() == (0, 0)
    assert deliver("y" * 9000, "a") + deliver("y" * 1000, "a") == (Outcome.QUEUED, Outcome.QUEUED)


def test_what_the_previous_release_handed_over_is_not_counted_for_ever() -> None:
    away("a")
    assert deliver("x" * 9000, "a") == (Outcome.QUEUED,)
    HubClient.objects.update(delivered_seq=1)  # handed over by it
    MailboxLetter.objects.all().delete()
    for size in (1000, 2000, 3000):
        assert deliver("x" * size, "a") == (Outcome.QUEUED,)
    assert waiting() == (6000, 6000)
    assert Deliver.apply([Deliver("x" * 3000, ("a",), LIMITS)] * 2) == [(Outcome.QUEUED,), (Outcome.FULL,)]


# --- Who stays known ---------------------------------------------------------------------------


def test_clients_that_stay_away_are_forgotten_but_for_their_letters() -> None:
    worker, ended = new_worker(), new_worker()
    claimed("here", worker)
    claimed("killed", ended)
    EndWorker.apply([EndWorker(ended)])
    for name in ("away", "read", "waiting", "recent"):
        away(name)
    deliver("x", "waiting", "read")
    HandedOver.apply([HandedOver(HubClient.objects.get(client_id="read").pk, 1)])
    old = timezone.now() - timedelta(days=90, seconds=1)
    HubClient.objects.exclude(client_id="recent").update(last_seen=old)
    assert PurgeClients.apply([PurgeClients(LIMITS)]) == [3]
    assert PurgeClients.apply([PurgeClients(LIMITS)]) == [0]
    assert set(HubClient.objects.values_list("client_id", flat=True)) == {"here", "waiting", "recent"}
    assert deliver("x", "away") == (Outcome.UNKNOWN,)
    assert claimed("away", worker)[1].delivered_seq == 0
