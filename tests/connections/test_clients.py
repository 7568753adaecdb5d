"""Workers that want the same clients of the hub at once, on PostgreSQL; committed as the store commits."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from connections import jobs as connection_jobs
from connections import mail
from connections.audit import COMMAND_LINE
from connections.claims import ClaimClient, Claimed, ReleaseClient
from connections.clients import ClientJob
from connections.jobs import Register, Reopen
from connections.mail import Deliver, HandedOver, Outcome, PurgeClients, PurgeLetters
from connections.models import HubClient
from connections.services import forget_clients
from conversations import store
from tests.connections.test_mail import LIMITS as FEW
from tests.conversations.conftest import Database
from tests.conversations.test_jobs import Tries, at_once, lock_waiters
from tests.support.waiting import wait_until

pytestmark = pytest.mark.parametrize("real_database", ["postgres"], indirect=True)

LIMITS = msgspec.structs.replace(FEW, clients=10_000)  # the database is other tests' too
LAPSED = msgspec.structs.replace(LIMITS, letters_for=-timedelta(days=1), clients_for=-timedelta(days=1))


def commit(jobs: list[Any]) -> list[Any]:
    """Write jobs of this app, which knows no store."""
    return store.commit(jobs)


class Known:
    """A client of the hub, its connection, and what is written of it."""

    def __init__(self, worker: UUID) -> None:
        self.name = f"client {uuid4()}"
        self.worker = worker
        self.connection = uuid4()
        claimed, _ = commit([self.claim(), self.deliver()])
        assert isinstance(claimed, Claimed)
        self.id = claimed.client

    def claim(self) -> ClaimClient:
        return ClaimClient(self.name, self.connection, self.worker, LIMITS)

    def deliver(self) -> Deliver:
        return Deliver("x", (self.name,), LIMITS)

    def hand_over(self) -> HandedOver:
        return HandedOver(self.id, 1)

    def release(self) -> ReleaseClient:
        return ReleaseClient(self.name, self.connection)

    def reopen(self) -> Reopen:
        return Reopen(self.worker, (self.connection,))


@pytest.fixture
def both(real_database: Database) -> tuple[Known, Known]:
    """Two clients, the one with the lower id first."""
    worker = uuid4()
    commit([Register(worker, "host", 1)])
    return Known(worker), Known(worker)


def locked(other: Any, clients: Iterable[Known]) -> None:
    """Lock clients for a connection's transaction."""
    ids = [client.id for client in clients]
    other.execute("SELECT 1 FROM connections_hubclient WHERE id = ANY(%s) FOR UPDATE", (ids,))


def meanwhile(real_database: Database, clients: Iterable[Known], *works: Callable[[], Any]) -> list[Any]:
    """Begin all `works` while their clients are locked, and let go once they all wait."""
    with ThreadPoolExecutor(1) as thread, real_database.connect() as other, real_database.connect() as watching:
        with other.transaction():
            locked(other, clients)
            results = thread.submit(at_once, *works)
            wait_until(lambda: lock_waiters(watching) == len(works), timeout=10, what="all of them")
        return results.result(10)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Known.reopen, Known.claim),
        (Known.claim, Known.deliver),
        (Known.deliver, Known.hand_over),
        (Known.hand_over, Known.release),
        (Known.claim, Known.release),
    ],
)
def test_batches_that_want_each_other_s_clients_do_not_deadlock(
    both: tuple[Known, Known], real_database: Database, first: Callable[[Known], Any], then: Callable[[Known], Any]
) -> None:
    tries = Tries()

    def batch(one: Known, other: Known) -> list[Any]:
        return commit([tries, first(one), then(other)])

    results = meanwhile(real_database, both, lambda: batch(*both), lambda: batch(*reversed(both)))
    assert not [result for batch in results for result in batch if isinstance(result, Exception)]
    assert len(tries.counted) == 2


def test_new_names_in_two_orders_do_not_deadlock(real_database: Database) -> None:
    worker, tries, new = uuid4(), Tries(), f"new {uuid4()}"
    names = [f"{new}/{number}" for number in range(3)]

    def batch(names: Iterable[str]) -> list[Any]:
        return commit([tries, *(ClaimClient(name, uuid4(), worker, LIMITS) for name in names)])

    with ThreadPoolExecutor(1) as thread, real_database.connect() as other, real_database.connect() as watching:
        with other.transaction(force_rollback=True):
            other.execute(
                "INSERT INTO connections_hubclient (client_id, last_seq, delivered_seq, first_seen, last_seen)"
                " VALUES (%s, 0, 0, now(), now())",
                names[1:2],
            )
            both = thread.submit(at_once, lambda: batch(names), lambda: batch(reversed(names)))
            wait_until(lambda: lock_waiters(watching) == 2, timeout=10, what="both batches")
        results = both.result(10)
    assert [isinstance(result, Claimed) for batch in results for result in batch] == [False, True, True, True] * 2
    assert len(tries.counted) == 2


def test_staff_forget_clients_while_letters_are_handed_over(both: tuple[Known, Known], real_database: Database) -> None:
    commit([client.release() for client in both])
    ids = [client.id for client in both]
    tries = Tries()
    batch: list[Any] = [tries, *(client.hand_over() for client in both)]
    with ThreadPoolExecutor(2) as threads, real_database.connect() as other, real_database.connect() as watching:
        with other.transaction():
            locked(other, both[1:])
            handed_over = threads.submit(at_once, lambda: commit(batch))
            wait_until(lambda: lock_waiters(watching) == 1, timeout=10, what="who hands over, with the other client")
            forgotten = threads.submit(at_once, lambda: forget_clients(reversed(ids), by=COMMAND_LINE))
            wait_until(lambda: lock_waiters(watching) == 2, timeout=10, what="staff")
        assert handed_over.result(10) == [[None, None, None]]
        assert forgotten.result(10) == [2]
    assert len(tries.counted) == 1


def test_a_purge_passes_over_whom_somebody_holds(both: tuple[Known, Known], real_database: Database) -> None:
    held, free = both
    commit([client.release() for client in both])
    with real_database.connect() as other, other.transaction():
        locked(other, [held])
        commit([PurgeLetters(LAPSED)])
        assert not isinstance(commit([PurgeClients(LAPSED)])[0], Exception)
        assert not HubClient.objects.filter(pk=free.id).exists()
    assert commit([held.deliver()]) == [(Outcome.QUEUED,)]
    commit([PurgeLetters(LAPSED), PurgeClients(LAPSED)])
    assert not HubClient.objects.filter(pk=held.id).exists()


def test_the_kinds_of_a_client_stand_together(real_database: Database) -> None:
    # Another kind's rank between theirs would part them, and each part would lock for itself.
    ranks = [kind.rank for kind in ClientJob.__subclasses__()]
    written = [kind for module in (connection_jobs, mail) for kind in vars(module).values() if hasattr(kind, "rank")]
    others = {kind.rank for kind in (*written, *_kinds(store.Job)) if not issubclass(kind, ClientJob)}
    assert len(set(ranks)) == len(ranks)
    assert not [rank for rank in others if min(ranks) <= rank <= max(ranks)]


def _kinds(of: type[Any]) -> list[type[Any]]:
    found = of.__subclasses__()
    return [*found, *(kind for each in found for kind in _kinds(each))]
