"""The hub's letters, as jobs for the writer: what waits for each client, and for how long.

A client's letters have gap-free places in its mailbox. `last_seq` is the newest; everything up to `delivered_seq` was
handed over, or thrown away for its age. `last_byte` and `delivered_byte` count on with them, in bytes: what waits is
the difference.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db import connection as database
from django.db.models import F, Max
from django.utils import timezone

from connections import selectors
from connections.clients import ClientJob, Locked, away, find
from connections.models import HubClient, MailboxLetter

PURGED_AT_ONCE = 500  # clients that are forgotten, or whose old letters go, in one transaction


class MailLimits(msgspec.Struct, frozen=True):
    """What may wait for one client, away or connected, and for how long; how many clients are known, and for how long.

    An empty mailbox takes any letter. `clients` is for each application, and for those of none. Who is connected, or
    has letters waiting, stays known.
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


class Deliver(ClientJob, frozen=True):
    """Put a letter into the mailboxes of its recipients; the result is an Outcome for each.

    Without `keep` nothing is written: the result tells who is connected.
    """

    rank: ClassVar[int] = 7
    text: str
    recipients: tuple[str, ...]
    limits: MailLimits
    keep: bool = True

    @classmethod
    def clients(cls, jobs: Sequence["Deliver"]) -> Iterable[int]:
        return find(name for job in jobs for name in job.recipients).values()

    @classmethod
    def write(cls, jobs: Sequence["Deliver"], locked: Locked) -> Sequence[tuple[Outcome, ...]]:
        now = timezone.now()
        live = selectors.live_among({client.worker for client in locked.values() if client.worker})
        before = {client.pk: client.last_seq for client in locked.values()}
        letters: list[MailboxLetter] = []
        results = []
        for job in jobs:
            size = len(job.text.encode())
            outcomes = tuple(_outcome(job, size, locked.get(name), live) for name in job.recipients)
            for name, outcome in zip(job.recipients, outcomes, strict=True):
                if job.keep and outcome in {Outcome.DELIVERED, Outcome.QUEUED}:
                    client = locked[name]
                    if client.last_seq == client.delivered_seq:  # the previous release hands over and counts no bytes
                        client.delivered_byte = client.last_byte
                    client.last_seq += 1
                    client.last_byte += size
                    place = {"seq": client.last_seq, "last_byte": client.last_byte}
                    letters.append(MailboxLetter(client=client, text=job.text, created_at=now, **place))
            results.append(outcomes)
        MailboxLetter.objects.bulk_create(letters)
        _move_on([client for client in locked.values() if client.last_seq != before[client.pk]])
        return results


class HandedOver(ClientJob, frozen=True):
    """Note that a client has its letters up to `seq`, and forget them."""

    rank: ClassVar[int] = 8
    client: int
    seq: int

    @classmethod
    def clients(cls, jobs: Sequence["HandedOver"]) -> Iterable[int]:
        return {job.client for job in jobs}

    @classmethod
    def write(cls, jobs: Sequence["HandedOver"], locked: Locked) -> Sequence[None]:
        latest: dict[int, int] = {}
        for job in jobs:
            latest[job.client] = max(job.seq, latest.get(job.client, 0))
        _forget(latest)
        return [None] * len(jobs)


class PurgeLetters(msgspec.Struct, frozen=True):
    """Throw away what has waited for too long; the result counts the clients it concerned.

    As with all purges, a client that somebody else holds waits for the next one: it is not waited for.
    """

    rank: ClassVar[int] = 96
    limits: MailLimits

    @classmethod
    def apply(cls, jobs: Sequence["PurgeLetters"]) -> Sequence[int]:
        old = MailboxLetter.objects.filter(created_at__lt=timezone.now() - jobs[0].limits.letters_for).order_by()
        newest = dict(old.values_list("client").annotate(Max("seq"))[:PURGED_AT_ONCE])
        free = HubClient.objects.select_for_update(skip_locked=True).filter(pk__in=newest)
        _forget({pk: newest[pk] for pk in free.order_by("pk").values_list("pk", flat=True)})
        return [len(newest)] * len(jobs)


class PurgeClients(msgspec.Struct, frozen=True):
    """Forget clients that have not been connected for too long and have nothing waiting; the result counts them."""

    rank: ClassVar[int] = 97
    limits: MailLimits

    @classmethod
    def apply(cls, jobs: Sequence["PurgeClients"]) -> Sequence[int]:
        gone = HubClient.objects.filter(
            away(),
            last_seen__lt=timezone.now() - jobs[0].limits.clients_for,
            last_seq=F("delivered_seq"),
        )
        free = gone.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True)
        some = list(free[:PURGED_AT_ONCE])
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


# Letters come and go by the thousand: these statements go past the ORM, whose SQL costs more to make than to run.

_CLIENTS, _LETTERS = HubClient._meta.db_table, MailboxLetter._meta.db_table


def _move_on(clients: Iterable[HubClient]) -> None:
    """Store how far the mailboxes of clients have got."""
    with database.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {_CLIENTS} SET last_seq = %s, last_byte = %s, delivered_byte = %s WHERE id = %s",  # noqa: S608
            [(client.last_seq, client.last_byte, client.delivered_byte, client.pk) for client in clients],
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
