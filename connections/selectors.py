"""Every read of who is here. Synchronous; a connection is live while `ended_at` is null."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Length

from connections.models import Application, Connection, HubClient, MailboxLetter, Worker

PIPELINE_WIRE = "langbot"
HUB = "postoffice"
PRESENT = 20  # connections of one session that are shown


class Statistics(msgspec.Struct, frozen=True):
    """How many sockets of the pipeline wire are live, over the whole deployment; `pipelines` counts those with any."""

    total_connections: int
    pipelines: int
    connections_by_pipeline: dict[UUID, int]
    connections_by_session_type: dict[str, int]


class ListedConnection(msgspec.Struct, frozen=True):
    """A socket that is live; times in UTC."""

    connection_id: UUID
    session_type: str
    created_at: datetime
    last_active: datetime


class Present(msgspec.Struct, frozen=True):
    """Somebody who is connected to a session."""

    client: str
    address: str
    user_agent: str
    connected_at: datetime


def live_statistics() -> Statistics:
    """Return the numbers of live sockets of the pipeline wire."""
    by_pipeline: dict[UUID, int] = {}
    by_type: dict[str, int] = {"person": 0, "group": 0}
    counted = _live().values_list("pipeline", "session_type").annotate(Count("id")).order_by()
    for pipeline, session_type, count in counted:
        if pipeline is not None:
            by_pipeline[pipeline] = by_pipeline.get(pipeline, 0) + count
            by_type[session_type] = by_type.get(session_type, 0) + count
    return Statistics(sum(by_pipeline.values()), len(by_pipeline), by_pipeline, by_type)


def live_connections(pipeline: UUID) -> list[ListedConnection]:
    """Return the live sockets of a pipeline, oldest first."""
    found = (
        _live()
        .filter(pipeline=pipeline)
        .order_by("connected_at", "id")
        .values_list("uuid", "session_type", "connected_at", "last_active")
    )
    return [
        ListedConnection(uuid, session_type, connected.astimezone(UTC), active.astimezone(UTC))
        for uuid, session_type, connected, active in found
    ]


def present_in(session: UUID, wire: str, client: str) -> list[Present]:
    """Return who is connected to a session, on the hub to its client; the first PRESENT of them."""
    here = Q(wire=HUB, client=client) if wire == HUB else Q(session=session)
    found = Connection.objects.filter(here, ended_at=None).order_by("connected_at")
    return [Present(*row) for row in found.values_list("client", "address", "user_agent", "connected_at")[:PRESENT]]


def live_count(pipelines: Collection[UUID], session_types: Collection[str], wires: Collection[str]) -> int:
    """Return how many connections are live that are of one of each."""
    found = Connection.objects.filter(ended_at=None, pipeline__in=pipelines, session_type__in=session_types)
    return found.filter(wire__in=wires).count()


def live_workers() -> dict[UUID, int]:
    """Return the beat of every worker whose lease has not ended."""
    return dict(Worker.objects.filter(ended_at=None).order_by().values_list("uuid", "beat"))


def live_among(workers: Collection[UUID]) -> set[UUID]:
    """Return those of `workers` whose lease has not ended."""
    return set(Worker.objects.filter(uuid__in=workers, ended_at=None).order_by().values_list("uuid", flat=True))


def callback_url(application: UUID) -> str:
    """Return where an application's asynchronous answers go; empty where it wants none, or is disabled or gone."""
    found = Application.objects.filter(uuid=application, enabled=True).values_list("callback_url", flat=True)
    return found.first() or ""


def applications_named(name: str) -> int:
    """Return how many applications have that name."""
    return Application.objects.filter(name=name).count()


def client_prefixes() -> dict[UUID, tuple[str, ...]]:
    """Return what client IDs on the hub must begin with, of every enabled application that has such a list."""
    found = Application.objects.filter(enabled=True).exclude(client_prefixes=[]).order_by()
    return {uuid: tuple(prefixes) for uuid, prefixes in found.values_list("uuid", "client_prefixes")}


def is_connected(client_id: str) -> bool:
    """Tell whether the named client is connected, to whichever worker."""
    live = Worker.objects.filter(ended_at=None).values("uuid")
    return HubClient.objects.filter(client_id=client_id, connection__isnull=False, worker__in=live).exists()


def letters_after(client: int, seq: int, limit: int, size: int) -> list[tuple[int, str]]:
    """Return place and text of a client's next letters: at most `limit`, and about `size` characters."""
    following = MailboxLetter.objects.filter(client=client, seq__gt=seq).order_by("seq")
    last = None
    for place, length in following.values_list("seq", Length("text"))[:limit]:
        last, size = place, size - length
        if size <= 0:
            break
    return list(following.filter(seq__lte=last).values_list("seq", "text")) if last is not None else []


def mailboxes(clients: Collection[int]) -> dict[int, tuple[UUID | None, int]]:
    """Return which connection holds each client's name, and the newest place in its mailbox."""
    found = HubClient.objects.filter(pk__in=clients).order_by()
    return {pk: (connection, seq) for pk, connection, seq in found.values_list("pk", "connection", "last_seq")}


def _live() -> QuerySet[Connection]:
    return Connection.objects.filter(wire=PIPELINE_WIRE, ended_at=None)
