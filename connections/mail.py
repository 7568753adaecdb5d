"""The hub's writes, as jobs for the writer: who holds a name, and the letters that wait for him.

A client's letters have gap-free places in its mailbox. `last_seq` is the newest; everything up to `delivered_seq` was
handed over, or thrown away for its age. `last_byte` and `delivered_byte` count on with them, in bytes: what waits is
the difference. A name is held by a connection while that connection's worker lives, and belongs to the first
application that takes it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db import connection as database
from django.db.models import Exists, F, Max, OuterRef, Q
from django.utils import timezone

from connections import selectors
from connections.models import HubClient, MailboxLetter, Worker

PURGED_AT_ONCE = 500  # clients that are forgotten, or whose old letters go, in one transaction
ASKED_AT_ONCE = 500  # client IDs of one query


class MailLimits(msgspec.Struct, frozen=True):
    """What may wait for one client, away or connected, and for how long; how many clients are known, and for how long.

    An empty mailbox takes any letter. Who is connected, or has letters waiting, stays known.
    """

    letters: int
    letters_connected: int
    bytes: int
    letters_for: timedelta
    clients: int
    clients_for: timedelta


class Outcome(StrEnum):
    """What became of a letter for one recipient."""

    DELIVERED = "delivered"  # it is connected, and its reader is told
    QUEUED = "queued"
    UNKNOWN = "unknown"  # nobody has ever connected under that ID
    FULL = "full"  # too many letters wait, or too long ones
    AWAY = "away"  # not connected, and the letter is not worth keeping


class Claimed(msgspec.Struct, frozen=True):
    """A name is held now: by whom it was before, and up to where its mailbox was handed over."""

    client: int
    delivered_seq: int
    replaced: UUID | None


class HeldBy(msgspec.Struct, frozen=True):
    """A name stays with the connection that holds it."""

    connection: UUID


class Denied(StrEnum):
    """Why a name was not given."""

    FOREIGN = "foreign"  # it belongs to another application, or begins as only another's may
    NO_ROOM = "no room"  # it is new, and as many clients are known as may be


class ClaimClient(msgspec.Struct, frozen=True):
    """Take a name for a connection; the result is Claimed, HeldBy or Denied.

    `start_time` must be newer than the holder's, where both have one. Without an application (open mode) every name
    may be taken, and keeps its owner. `over` is a holder that was found dead.
    """

    rank: ClassVar[int] = 20
    client_id: str
    connection: UUID
    worker: UUID
    limits: MailLimits
    start_time: int | None = None
    application: UUID | None = None
    over: UUID | None = None

    @classmethod
    def apply(cls, jobs: Sequence["ClaimClient"]) -> Sequence[Claimed | HeldBy | Denied]:
        now = timezone.now()
        prefixes = selectors.client_prefixes() if any(job.application for job in jobs) else {}
        reserved = {job.connection for job in jobs if job.is_reserved(prefixes)}
        names = {job.client_id for job in jobs if job.connection not in reserved}
        known = _lock(names)
        if missing := sorted(names - known.keys()):
            room = max(0, jobs[0].limits.clients - HubClient.objects.count())
            new = [HubClient(client_id=name, first_seen=now, last_seen=now) for name in missing[:room]]
            HubClient.objects.bulk_create(new, ignore_conflicts=True)
            known |= _lock(missing)
        live = selectors.live_among({client.worker for client in known.values() if client.worker})
        live |= {job.worker for job in jobs}
        return [
            Denied.FOREIGN if job.connection in reserved else job.claim(known.get(job.client_id), live, now)
            for job in jobs
        ]

    def is_reserved(self, prefixes: Mapping[UUID, tuple[str, ...]]) -> bool:
        """Tell whether the name begins as another application's must, and not as its own's."""
        if self.application is None or self.client_id.startswith(prefixes.get(self.application, ())):
            return False
        return any(self.client_id.startswith(others) for others in prefixes.values())

    def claim(self, client: HubClient | None, live: Collection[UUID], now: datetime) -> Claimed | HeldBy | Denied:
        if client is None:
            return Denied.NO_ROOM
        owner = self.application or client.application
        # Before all else: a stranger does not hear who is connected.
        if client.application not in {None, owner}:
            return Denied.FOREIGN
        holder = client.connection if client.worker in live else None
        if holder is not None and holder != self.over and self._is_older(client):
            return HeldBy(holder)
        client.connection, client.worker = self.connection, self.worker
        client.start_time, client.application, client.last_seen = self.start_time, owner, now
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
    limits: MailLimits
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
            size = len(job.text.encode())
            outcomes = tuple(_outcome(job, size, clients.get(name), live) for name in job.recipients)
            for name, outcome in zip(job.recipients, outcomes, strict=True):
                if job.keep and outcome in {Outcome.DELIVERED, Outcome.QUEUED}:
                    client = clients[name]
                    client.last_seq += 1
                    client.last_byte += size
                    place = {"seq": client.last_seq, "last_byte": client.last_byte}
                    letters.append(MailboxLetter(client=client, text=job.text, created_at=now, **place))
            results.append(outcomes)
        MailboxLetter.objects.bulk_create(letters)
        _move_on([client for client in clients.values() if client.last_seq != before[client.pk]])
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
        _forget(latest)
        return [None] * len(jobs)


class PurgeLetters(msgspec.Struct, frozen=True):
    """Throw away what has waited for too long; the result counts the clients it concerned."""

    rank: ClassVar[int] = 96
    limits: MailLimits

    @classmethod
    def apply(cls, jobs: Sequence["PurgeLetters"]) -> Sequence[int]:
        old = MailboxLetter.objects.filter(created_at__lt=timezone.now() - jobs[0].limits.letters_for).order_by()
        newest = dict(old.values_list("client").annotate(Max("seq"))[:PURGED_AT_ONCE])
        _forget(newest)
        return [len(newest)] * len(jobs)


class PurgeClients(msgspec.Struct, frozen=True):
    """Forget clients that have not been connected for too long and have nothing waiting; the result counts them."""

    rank: ClassVar[int] = 97
    limits: MailLimits

    @classmethod
    def apply(cls, jobs: Sequence["PurgeClients"]) -> Sequence[int]:
        held = Exists(Worker.objects.filter(uuid=OuterRef("worker"), ended_at=None))
        gone = HubClient.objects.filter(
            Q(connection=None) | ~held,
            last_seen__lt=timezone.now() - jobs[0].limits.clients_for,
            last_seq=F("delivered_seq"),
        )
        some = [client.pk for client in gone.select_for_update().order_by("client_id")[:PURGED_AT_ONCE]]
        HubClient.objects.filter(pk__in=some).delete()
        return [len(some)] * len(jobs)


def _outcome(job: Deliver, size: int, client: HubClient | None, live: Collection[UUID]) -> Outcome:
    if client is None:
        return Outcome.UNKNOWN
    connected = client.connection is not None and client.worker in live
    if not job.keep:
        return Outcome.DELIVERED if connected else Outcome.AWAY
    letters = client.last_seq - client.delivered_seq
    full = letters >= (job.limits.letters_connected if connected else job.limits.letters)
    if full or (letters and client.last_byte - client.delivered_byte + size > job.limits.bytes):
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


# Letters come and go by the thousand: these statements go past the ORM, whose SQL costs more to make than to run.

_CLIENTS, _LETTERS = HubClient._meta.db_table, MailboxLetter._meta.db_table


def _move_on(clients: Iterable[HubClient]) -> None:
    """Store how far the mailboxes of clients have got."""
    with database.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {_CLIENTS} SET last_seq = %s, last_byte = %s WHERE id = %s",  # noqa: S608  names of ours
            [(client.last_seq, client.last_byte, client.pk) for client in clients],
        )


def _forget(newest: Mapping[int, int]) -> None:
    """Take the letters up to a place out of the mailbox, for each client.

    A letter that the previous release put in knows no bytes: the one before it tells.
    """
    places = sorted(newest.items())
    with database.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {_CLIENTS} SET delivered_seq = %s, delivered_byte = coalesce("  # noqa: S608  names of ours
            f"(SELECT last_byte FROM {_LETTERS} WHERE client_id = %s AND seq <= %s AND last_byte > 0"
            " ORDER BY seq DESC LIMIT 1), delivered_byte) WHERE id = %s AND delivered_seq < %s",
            [(seq, client, seq, client, seq) for client, seq in places],
        )
        cursor.executemany(f"DELETE FROM {_LETTERS} WHERE client_id = %s AND seq <= %s", places)  # noqa: S608
