"""Names on the hub, as jobs for the writer: who may have one, and who holds it.

A name is held by a connection while that connection's worker lives. It belongs to the applications whose prefix covers
it most closely, to the first of them that takes it; where no prefix covers it, to the first of all.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from connections import selectors
from connections.clients import ClientJob, Locked, find
from connections.mail import MailLimits
from connections.models import HubClient


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

    FOREIGN = "foreign"  # it belongs to another application
    NO_ROOM = "no room"  # it is new, and as many clients of the application are known as may be


class ClaimClient(ClientJob, frozen=True):
    """Take a name for a connection; the result is Claimed, HeldBy or Denied.

    `start_time` must be newer than the holder's, where both have one. Without an application (open mode) every name
    may be taken, and keeps its owner. `over` is a holder that was found dead.
    """

    rank: ClassVar[int] = 6
    client_id: str
    connection: UUID
    worker: UUID
    limits: MailLimits
    start_time: int | None = None
    application: UUID | None = None
    over: UUID | None = None

    @classmethod
    def clients(cls, jobs: Sequence["ClaimClient"]) -> Iterable[int]:
        names = {job.client_id for job in jobs}
        known = find(names)
        if names - known.keys():
            prefixes = _prefixes(jobs)
            new = [job for job in jobs if job.client_id not in known]
            # A name that is refused for its beginning is not made known.
            _make([job for job in new if job.is_entitled(heirs(job.client_id, prefixes))])
            known = find(names)
        return known.values()

    @classmethod
    def write(cls, jobs: Sequence["ClaimClient"], locked: Locked) -> Sequence[Claimed | HeldBy | Denied]:
        now, prefixes = timezone.now(), _prefixes(jobs)
        live = selectors.live_among({client.worker for client in locked.values() if client.worker})
        live |= {job.worker for job in jobs}
        return [job.claim(locked.get(job.client_id), heirs(job.client_id, prefixes), live, now) for job in jobs]

    def is_entitled(self, heirs: Collection[UUID]) -> bool:
        """Tell whether the name is none that only others may have."""
        return self.application is None or not heirs or self.application in heirs

    def claim(
        self, client: HubClient | None, heirs: Collection[UUID], live: Collection[UUID], now: datetime
    ) -> Claimed | HeldBy | Denied:
        if not self.is_entitled(heirs):
            return Denied.FOREIGN
        if client is None:
            return Denied.NO_ROOM
        owner = self.application or client.application
        inherits = client.application not in {None, owner}
        # Before all else: a stranger does not hear who is connected.
        if inherits and (not heirs or client.application in heirs):
            return Denied.FOREIGN
        holder = client.connection if client.worker in live else None
        if holder is not None and holder != self.over and not inherits and self._is_older(client):
            return HeldBy(holder)
        client.connection, client.worker = self.connection, self.worker
        client.start_time, client.application, client.last_seen = self.start_time, owner, now
        client.save(update_fields=["connection", "worker", "start_time", "application", "last_seen"])
        return Claimed(client.pk, client.delivered_seq, holder)

    def _is_older(self, client: HubClient) -> bool:
        return self.start_time is not None and client.start_time is not None and self.start_time <= client.start_time


class ReleaseClient(ClientJob, frozen=True):
    """Give a name back, unless another connection holds it by now."""

    rank: ClassVar[int] = 9
    client_id: str
    connection: UUID

    @classmethod
    def clients(cls, jobs: Sequence["ReleaseClient"]) -> Iterable[int]:
        return find(job.client_id for job in jobs).values()

    @classmethod
    def write(cls, jobs: Sequence["ReleaseClient"], locked: Locked) -> Sequence[None]:
        now = timezone.now()
        for job in jobs:
            client = locked.get(job.client_id)
            if client is not None and client.connection == job.connection:
                client.connection, client.worker, client.last_seen = None, None, now
                client.save(update_fields=["connection", "worker", "last_seen"])
        return [None] * len(jobs)


def heirs(client_id: str, prefixes: Mapping[UUID, Iterable[str]]) -> set[UUID]:
    """Return the applications whose prefix covers a name most closely; only they may have it."""
    covering = {
        uuid: max((len(prefix) for prefix in own if client_id.startswith(prefix)), default=0)
        for uuid, own in prefixes.items()
    }
    longest = max(covering.values(), default=0)
    return {uuid for uuid, length in covering.items() if length == longest > 0}


def _prefixes(jobs: Iterable[ClaimClient]) -> dict[UUID, tuple[str, ...]]:
    return selectors.client_prefixes() if any(job.application for job in jobs) else {}


def _make(jobs: Sequence[ClaimClient]) -> None:
    """Make the clients known that `jobs` name, as many of each application as may be."""
    now = timezone.now()
    owners = {job.client_id: job.application for job in reversed(jobs)}
    room = {
        owner: jobs[0].limits.clients - HubClient.objects.filter(application=owner).count()
        for owner in set(owners.values())
    }
    new = []
    # All workers insert in one order, and none while it holds another client.
    for client_id in sorted(owners):
        room[owners[client_id]] -= 1
        if room[owners[client_id]] >= 0:
            new.append(HubClient(client_id=client_id, first_seen=now, last_seen=now))
    HubClient.objects.bulk_create(new, ignore_conflicts=True)
