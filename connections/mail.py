"""The hub's writes, as jobs for the writer: who holds a name, and the letters that wait for him.

A client's letters have gap-free places in its mailbox. `last_seq` is the newest; everything up to `delivered_seq` was
handed over, or thrown away for its age. A name is held by a connection while that connection's worker lives.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import Max
from django.utils import timezone

from connections import selectors
from connections.models import HubClient, MailboxLetter

OFFLINE_LETTERS = 1_000  # letters that wait for a client that is away; one more is refused
ONLINE_LETTERS = 10_000  # the same for one that is connected and reads slowly
LETTERS_FOR = timedelta(days=7)
PURGED_AT_ONCE = 500  # clients whose old letters go in one transaction
ASKED_AT_ONCE = 500  # client IDs of one query


class Outcome(StrEnum):
    """What became of a letter for one recipient."""

    DELIVERED = "delivered"  # it is connected, and its reader is told
    QUEUED = "queued"
    UNKNOWN = "unknown"  # nobody has ever connected under that ID
    FULL = "full"
    AWAY = "away"  # not connected, and the letter is not worth keeping


class Claimed(msgspec.Struct, frozen=True):
    """A name is held now: by whom it was before, and up to where its mailbox was handed over."""

    client: int
    delivered_seq: int
    replaced: UUID | None


class HeldBy(msgspec.Struct, frozen=True):
    """A name stays with the connection that holds it."""

    connection: UUID


class ClaimClient(msgspec.Struct, frozen=True):
    """Take a name for a connection; the result is Claimed or HeldBy.

    `start_time` must be newer than the holder's, where both have one. `over` is a holder that was found dead.
    """

    rank: ClassVar[int] = 20
    client_id: str
    connection: UUID
    worker: UUID
    start_time: int | None = None
    application: UUID | None = None
    over: UUID | None = None

    @classmethod
    def apply(cls, jobs: Sequence["ClaimClient"]) -> Sequence[Claimed | HeldBy]:
        now = timezone.now()
        names = {job.client_id for job in jobs}
        known = _lock(names)
        if missing := sorted(names - known.keys()):
            new = [HubClient(client_id=name, first_seen=now, last_seen=now) for name in missing]
            HubClient.objects.bulk_create(new, ignore_conflicts=True)
            known |= _lock(missing)
        live = selectors.live_among({client.worker for client in known.values() if client.worker})
        live |= {job.worker for job in jobs}
        return [job.claim(known[job.client_id], live, now) for job in jobs]

    def claim(self, client: HubClient, live: Collection[UUID], now: datetime) -> Claimed | HeldBy:
        holder = client.connection if client.worker in live else None
        if holder is not None and holder != self.over and self._is_older(client):
            return HeldBy(holder)
        client.connection, client.worker = self.connection, self.worker
        client.start_time, client.application, client.last_seen = self.start_time, self.application, now
        client.save(update_fields=["connection", "worker", "start_time", "application", "last_seen"])
        return Claimed(client.pk, client.delivered_seq, holder)

    def _is_older(self, client: HubClient) -> bool:
        return self.start_time is not None and client.start_time is not None and self.start_time <= client.start_time


class ReleaseClient(msgspec.Struct, frozen=True):
    """Give a name back, unless another connection holds it by now."""

    rank: ClassVar[int] = 75
    client_id: str
    connection: UUID

    @classmethod
    def apply(cls, jobs: Sequence["ReleaseClient"]) -> Sequence[None]:
        now = timezone.now()
        for job in jobs:
            HubClient.objects.filter(client_id=job.client_id, connection=job.connection).update(
                connection=None, worker=None, last_seen=now
            )
        return [None] * len(jobs)


class Deliver(msgspec.Struct, frozen=True):
    """Put a letter into the mailboxes of its recipients; the result is an Outcome for each.

    Without `keep` nothing is written: the result tells who is connected.
    """

    rank: ClassVar[int] = 30
    text: str
    recipients: tuple[str, ...]
    keep: bool = True

    @classmethod
    def apply(cls, jobs: Sequence["Deliver"]) -> Sequence[tuple[Outcome, ...]]:
        now = timezone.now()
        clients = _lock({name for job in jobs for name in job.recipients})
        live = selectors.live_among({client.worker for client in clients.values() if client.worker})
        before = {client.pk: client.last_seq for client in clients.values()}
        letters: list[MailboxLetter] = []
        results = []
        for job in jobs:
            outcomes = tuple(_outcome(job, clients.get(name), live) for name in job.recipients)
            for name, outcome in zip(job.recipients, outcomes, strict=True):
                if job.keep and outcome in {Outcome.DELIVERED, Outcome.QUEUED}:
                    client = clients[name]
                    client.last_seq += 1
                    letters.append(MailboxLetter(client=client, seq=client.last_seq, text=job.text, created_at=now))
            results.append(outcomes)
        MailboxLetter.objects.bulk_create(letters)
        changed = [client for client in clients.values() if client.last_seq != before[client.pk]]
        HubClient.objects.bulk_update(changed, ["last_seq"], batch_size=ASKED_AT_ONCE)
        return results


class HandedOver(msgspec.Struct, frozen=True):
    """Note that a client has its letters up to `seq`, and forget them."""

    rank: ClassVar[int] = 60
    client: int
    seq: int

    @classmethod
    def apply(cls, jobs: Sequence["HandedOver"]) -> Sequence[None]:
        latest: dict[int, int] = {}
        for job in jobs:
            latest[job.client] = max(job.seq, latest.get(job.client, 0))
        for client, seq in sorted(latest.items()):
            _forget(client, seq)
        return [None] * len(jobs)


class PurgeLetters(msgspec.Struct, frozen=True):
    """Throw away what has waited for longer than LETTERS_FOR; the result counts the clients it concerned."""

    rank: ClassVar[int] = 96

    @classmethod
    def apply(cls, jobs: Sequence["PurgeLetters"]) -> Sequence[int]:
        old = MailboxLetter.objects.filter(created_at__lt=timezone.now() - LETTERS_FOR).order_by()
        newest = dict(old.values_list("client").annotate(Max("seq"))[:PURGED_AT_ONCE])
        for client, seq in sorted(newest.items()):
            _forget(client, seq)
        return [len(newest)] * len(jobs)


def _outcome(job: Deliver, client: HubClient | None, live: Collection[UUID]) -> Outcome:
    if client is None:
        return Outcome.UNKNOWN
    connected = client.connection is not None and client.worker in live
    if not job.keep:
        return Outcome.DELIVERED if connected else Outcome.AWAY
    if client.last_seq - client.delivered_seq >= (ONLINE_LETTERS if connected else OFFLINE_LETTERS):
        return Outcome.FULL
    return Outcome.DELIVERED if connected else Outcome.QUEUED


def _lock(names: Iterable[str]) -> dict[str, HubClient]:
    """Return the clients of those names, locked in one order by everybody."""
    ordered = sorted(names)
    found: dict[str, HubClient] = {}
    for start in range(0, len(ordered), ASKED_AT_ONCE):
        some = HubClient.objects.select_for_update().filter(client_id__in=ordered[start : start + ASKED_AT_ONCE])
        found |= {client.client_id: client for client in some.order_by("client_id")}
    return found


def _forget(client: int, seq: int) -> None:
    HubClient.objects.filter(pk=client, delivered_seq__lt=seq).update(delivered_seq=seq)
    MailboxLetter.objects.filter(client=client, seq__lte=seq).delete()
