"""Names on the hub: who may have one, and who holds it."""

from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
import pytest

from connections import selectors
from connections.audit import COMMAND_LINE
from connections.claims import ClaimClient, Claimed, Denied, HeldBy, ReleaseClient
from connections.jobs import EndWorker, Reopen
from connections.models import HubClient
from connections.services import create_application, give_names_free
from tests.connections.test_mail import LIMITS, claim, claimed, deliver, new_worker

pytestmark = pytest.mark.django_db


def application(*prefixes: str, enabled: bool = True) -> UUID:
    """Make an application with these prefixes and return its UUID."""
    return create_application("app", client_prefixes=prefixes, enabled=enabled)[0].uuid


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


# --- Whose name it is --------------------------------------------------------------------------


def test_a_name_belongs_to_the_first_application_that_takes_it() -> None:
    worker, first, second = new_worker(), application(), application()
    connection, result = claim("a", worker, 5, application=first)
    assert isinstance(result, Claimed)
    # Before anything about its holder: a stranger learns nothing.
    for start_time in (4, 6, None):
        assert claim("a", worker, start_time, application=second)[1] is Denied.FOREIGN
    assert claim("a", worker, 5, application=first)[1] == HeldBy(connection)
    ReleaseClient.apply([ReleaseClient("a", connection)])
    assert claim("a", worker, application=second)[1] is Denied.FOREIGN
    assert isinstance(claim("a", worker, application=first)[1], Claimed)


def test_a_name_without_owner_is_taken_over_and_open_mode_leaves_an_owner_alone() -> None:
    worker, first, second = new_worker(), application(), application()
    claimed("a", worker)
    assert isinstance(claim("a", worker, application=first)[1], Claimed)
    claimed("a", worker)
    assert HubClient.objects.get().application == first
    assert claim("a", worker, application=second)[1] is Denied.FOREIGN


def test_of_two_applications_at_once_the_first_gets_the_name() -> None:
    worker, first, second = new_worker(), application(), application()
    jobs = [ClaimClient("a", uuid4(), worker, LIMITS, None, owner) for owner in (first, second)]
    results: Sequence[object] = ClaimClient.apply(jobs)
    assert isinstance(results[0], Claimed)
    assert results[1] is Denied.FOREIGN


def test_a_name_that_was_given_free_goes_to_the_next_application_with_its_letters() -> None:
    worker, first, second = new_worker(), application(), application()
    connection, result = claim("a", worker, application=first)
    assert isinstance(result, Claimed)
    ReleaseClient.apply([ReleaseClient("a", connection)])
    deliver("waits", "a")
    assert give_names_free([result.client, result.client + 1], by=COMMAND_LINE) == 1
    _, again = claim("a", worker, application=second)
    assert isinstance(again, Claimed)
    assert selectors.letters_after(again.client, again.delivered_seq, 10, 10) == [(1, "waits")]
    assert claim("a", worker, application=first)[1] is Denied.FOREIGN


def test_a_prefix_keeps_names_for_the_applications_that_have_it() -> None:
    worker, without = new_worker(), application()
    weather, shared = application("/service/zhycit/"), application("/service/", "/x/")
    application("/closed/", enabled=False)
    application("")  # an empty prefix is none
    assert claim("/service/zhycit/weather_1", worker, application=without)[1] is Denied.FOREIGN
    assert not HubClient.objects.exists()  # and so nobody can write to it
    for name, owner in (
        ("/service/zhycit/weather_1", weather),
        ("/service/search_1", shared),
        ("/closed/1", without),
        ("/service", without),
    ):
        assert isinstance(claim(name, worker, application=owner)[1], Claimed)
    # In open mode there are no applications.
    assert isinstance(claim("/x/1", worker)[1], Claimed)


def test_a_prefix_that_came_later_takes_the_name_with_its_letters_and_whoever_holds_it() -> None:
    worker, before = new_worker(), application()
    connection, result = claim("billing/1", worker, 9, application=before)
    assert isinstance(result, Claimed)
    deliver("waits", "billing/1")
    after = application("billing/")
    assert claim("billing/1", worker, application=before)[1] is Denied.FOREIGN
    # An older startTime is no objection: those two are not one client.
    _, taken = claim("billing/1", worker, 5, application=after)
    assert taken == Claimed(result.client, 0, connection)
    assert selectors.letters_after(result.client, 0, 10, 10) == [(1, "waits")]
    assert HubClient.objects.get().application == after


@pytest.mark.parametrize("wide_first", [True, False])
def test_of_two_prefixes_the_longer_one_decides(*, wide_first: bool) -> None:
    worker, wide = new_worker(), application("svc/")
    if wide_first:
        assert isinstance(claim("svc/pay/1", worker, application=wide)[1], Claimed)
    narrow = application("svc/pay/")
    assert isinstance(claim("svc/pay/1", worker, application=narrow)[1], Claimed)
    assert claim("svc/pay/1", worker, application=wide)[1] is Denied.FOREIGN
    assert claim("svc/pay", worker, application=narrow)[1] is Denied.FOREIGN
    assert isinstance(claim("svc/pay", worker, application=wide)[1], Claimed)


def test_of_two_applications_with_one_prefix_the_first_keeps_the_name() -> None:
    worker, first, second = new_worker(), application("svc/"), application("svc/", "other/")
    connection, _ = claim("svc/1", worker, 5, application=first)
    assert claim("svc/1", worker, application=second)[1] is Denied.FOREIGN
    assert claim("svc/1", worker, 5, application=first)[1] == HeldBy(connection)


# --- How many are known ------------------------------------------------------------------------


def test_known_clients_are_bounded_and_a_known_one_comes_back() -> None:
    worker, limits = new_worker(), msgspec.structs.replace(LIMITS, clients=2)
    jobs = [ClaimClient(name, uuid4(), worker, limits) for name in ("a", "b", "c")]
    results = ClaimClient.apply(jobs)
    assert [isinstance(result, Claimed) for result in results] == [True, True, False]
    assert results[2] is Denied.NO_ROOM
    assert claim("d", worker, limits=limits)[1] is Denied.NO_ROOM
    assert isinstance(claim("a", worker, limits=limits)[1], Claimed)
    assert HubClient.objects.count() == 2


def test_an_application_that_has_used_up_its_names_leaves_the_others_theirs() -> None:
    worker, limits = new_worker(), msgspec.structs.replace(LIMITS, clients=2)
    first, second = application(), application("svc/")
    jobs = [
        ClaimClient(name, uuid4(), worker, limits, None, owner)
        for owner, name in ((first, "a"), (second, "svc/1"), (first, "b"), (first, "c"), (None, "d"), (second, "svc/2"))
    ]
    results = ClaimClient.apply(jobs)
    assert [name.client_id for name, result in zip(jobs, results, strict=True) if result is Denied.NO_ROOM] == ["c"]
    assert claim("svc/3", worker, application=second, limits=limits)[1] is Denied.NO_ROOM
    assert isinstance(claim("e", worker, limits=limits)[1], Claimed)
    assert claim("f", worker, limits=limits)[1] is Denied.NO_ROOM
