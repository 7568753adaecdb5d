"""Clients of the hub as a transaction holds them: locked before its first write to any."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import msgspec
from django.db.models import Exists, OuterRef, Q

from connections.models import HubClient, Worker

ASKED_AT_ONCE = 500  # clients of one query

Locked = Mapping[str, HubClient]  # by client ID


class ClientJob(msgspec.Struct, frozen=True):
    """A job that writes clients of the hub.

    The clients of all kinds in one transaction are locked at once, by id: locked kind after kind, two workers'
    transactions would wait for each other. So the ranks of all kinds stand together.
    """

    rank: ClassVar[int]

    @classmethod
    def apply(cls, jobs: Sequence[Any]) -> Sequence[Any]:
        """Lock what all `jobs` write, then write them, kind after kind."""
        kinds: list[tuple[type[ClientJob], list[Any]]] = [
            (kind, list(group)) for kind, group in groupby(jobs, key=type)
        ]
        locked = _lock({id_ for kind, group in kinds for id_ in kind.clients(group)})
        return [result for kind, group in kinds for result in kind.write(group, locked)]

    @classmethod
    def clients(cls, jobs: Sequence[Any]) -> Iterable[int]:
        """Return the ids of the clients that `jobs` write; what is missing is made."""
        raise NotImplementedError

    @classmethod
    def write(cls, jobs: Sequence[Any], locked: Locked) -> Sequence[Any]:
        """Write `jobs`, all of this kind, as `apply` does; what changes of a locked client is changed in it too."""
        raise NotImplementedError


def find(names: Iterable[str]) -> dict[str, int]:
    """Return the ids of those clients that are known."""
    found: dict[str, int] = {}
    for some in _slices(sorted(set(names))):
        found |= HubClient.objects.filter(client_id__in=some).order_by().values_list("client_id", "pk")
    return found


def away() -> Q:
    """Match the clients that are not connected: a name is held only while its holder's worker lives."""
    return Q(connection=None) | Q(~Exists(Worker.objects.filter(uuid=OuterRef("worker"), ended_at=None)))


def _lock(ids: Iterable[int]) -> Locked:
    locked: dict[str, HubClient] = {}
    for some in _slices(sorted(ids)):
        clients = HubClient.objects.select_for_update().filter(pk__in=some).order_by("pk")
        locked |= {client.client_id: client for client in clients}
    return locked


def _slices(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + ASKED_AT_ONCE] for start in range(0, len(values), ASKED_AT_ONCE))
