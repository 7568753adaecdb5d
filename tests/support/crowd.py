"""A deployment with much in it, put straight into the database, and all of staff's pages, which must stay quick."""

import math
import random
from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone

from connections.metrics import BOUNDS
from connections.models import Application, AuditEntry, Connection, HubClient, MailboxLetter, Minute, Worker
from conversations import rows
from conversations.models import (
    CannedReply,
    ChatSession,
    ContactRequest,
    Document,
    Message,
    Note,
    OutboxEntry,
    Pipeline,
    Route,
    Turn,
)

WIRES = ("langbot", "langbot", "contact", "wechat", "postoffice")
WORKERS = 4
MESSAGES = 5  # in each session
APART = MESSAGES + 1  # the ids of a session's messages, and one for the answer to the last
CLIENTS, LETTERS = 500, 4  # of the hub, and so many letters that wait for each tenth of them


class Size(NamedTuple):
    """How much there is of what there is most of."""

    live: int  # connections
    ended: int
    sessions: int
    minutes: int


FULL = Size(2_000, 8_000, 20_000, 24 * 60)  # what the time of a page is measured with
SOME = Size(300, 700, 1_000, 60)  # more than a page shows, which is enough to count its queries


def build(size: Size) -> None:
    """Fill the database."""
    chance = random.Random(5)
    now = timezone.now()
    pipelines = [Pipeline.objects.create(name=name) for name in ("Support", "Sales", "Town hall")]
    Route.objects.bulk_create(Route(pipeline=pipeline) for pipeline in pipelines)
    Document.objects.bulk_create(
        Document(pipeline=pipelines[0], title=f"Document {number}", text="Some words.") for number in range(200)
    )
    workers = _workers(now)
    sessions = _sessions(size, pipelines, now, chance)
    _connections(size, workers, [pipeline.uuid for pipeline in pipelines], sessions, now, chance)
    _messages(now)
    _requests(pipelines[0], now)
    _hub(now)
    Minute.objects.bulk_create(_minutes(size, workers, now, chance))
    Application.objects.bulk_create(Application(name=f"Application {n}", appid=f"app_{n}") for n in range(60))
    CannedReply.objects.bulk_create(CannedReply(title=f"Reply {n}", text="Some words.") for n in range(60))
    AuditEntry.objects.bulk_create(
        AuditEntry(at=now, action="broadcast", actor="owner", subject="Support") for _ in range(500)
    )


def pages() -> Iterator[str]:
    """Give the addresses of all pages: each model's list and a row's own, and those that show no model."""
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        row = model._default_manager.order_by("pk").first()
        if row is not None:
            yield reverse(f"{name}_change", args=[row.pk])
    session = ChatSession.objects.order_by("pk")[0].uuid
    for name in ("admin:index", "dashboard", "desk:desk", "desk:queue", "broadcast"):
        yield reverse(name)
    yield reverse("admin:index") + "?span=day"
    yield reverse("desk:conversation", args=[session])
    yield reverse("desk:view", args=[session])


def _workers(now: datetime) -> list[Worker]:
    return Worker.objects.bulk_create(
        [
            Worker(uuid=uuid4(), host="gateway-1", pid=4100 + place, beat=17_280 - place, started_at=now)
            for place in range(WORKERS)
        ]
        + [Worker(uuid=uuid4(), host="gateway-1", pid=4000, beat=90, started_at=now - timedelta(days=1), ended_at=now)]
    )


def _sessions(size: Size, pipelines: list[Pipeline], now: datetime, chance: random.Random) -> list[UUID]:
    uuids = [uuid4() for _ in range(size.sessions)]
    ChatSession.objects.bulk_create(
        (
            ChatSession(
                uuid=uuid, pipeline=chance.choice(pipelines), session_type="person", name=f"Visitor {place}",
                wire=chance.choice(WIRES), last_seq=MESSAGES, open_turns=1 if place < 12 else 0,
                created_at=now - timedelta(seconds=4 * place), last_message_at=now - timedelta(seconds=4 * place),
                waiting_since=now if 12 <= place < 40 else None,
            )
            for place, uuid in enumerate(uuids)
        ),
        batch_size=2_000,
    )  # fmt: skip
    return uuids


def _connections(
    size: Size,
    workers: list[Worker],
    pipelines: list[UUID],
    sessions: list[UUID],
    now: datetime,
    chance: random.Random,
) -> None:
    def connection(place: int) -> Connection:
        ended = place >= size.live
        time = now - timedelta(seconds=10 * place)
        return Connection(
            uuid=uuid4(), worker=workers[place % WORKERS].uuid, wire=chance.choice(WIRES),
            pipeline=chance.choice(pipelines), session=sessions[place], session_type="person",
            client=f"Visitor {place}", address=f"192.0.2.{place % 250}", user_agent="Browser", connected_at=time,
            last_active=time, ended_at=time if ended else None, close_code=1000 if ended else None,
        )  # fmt: skip

    Connection.objects.bulk_create((connection(place) for place in range(size.live + size.ended)), batch_size=2_000)


def _messages(now: datetime) -> None:
    time = rows.adapt_time(now)
    ids = list(ChatSession.objects.order_by("id").values_list("id", flat=True))
    fields = ("id", "session", "seq", "epoch", "role", "text", "connection_id", "reply_to", "sender_name", "outcome",
              "created_at")  # fmt: skip
    rows.insert(Message, fields, [
        (APART * place + seq, session, seq, 0, "assistant" if seq % 2 == 0 else "user",
         "Where do I get my library card, and what does it cost?", "", "", "", "", time)
        for place, session in enumerate(ids)
        for seq in range(1, MESSAGES + 1)
    ])  # fmt: skip
    Turn.objects.bulk_create(
        (
            Turn(
                id=APART * (place + 1), session_id=session, question_id=APART * place + MESSAGES, created_at=now,
                state="running" if place < 9 else "queued" if place < 12 else "ended",
            )
            for place, session in enumerate(ids[:5_000])
        ),
        batch_size=2_000,
    )  # fmt: skip
    Note.objects.bulk_create(
        Note(session_id=session, author="owner", text="Knows us.", created_at=now) for session in ids[:50]
    )


def _requests(pipeline: Pipeline, now: datetime) -> None:
    ContactRequest.objects.bulk_create(
        ContactRequest(
            uuid=uuid4(), pipeline=pipeline, message_id=APART * place + 1, created_at=now,
            state="received" if place < 7 else "closed",
        )
        for place in range(500)
    )  # fmt: skip
    OutboxEntry.objects.bulk_create(
        OutboxEntry(kind="email", message_id=APART * place + 1, state="sent", due_at=now, created_at=now)
        for place in range(500)
    )


def _hub(now: datetime) -> None:
    clients = HubClient.objects.bulk_create(
        HubClient(
            client_id=f"/service/zhycit/{place}", last_seq=LETTERS if place % 10 == 0 else 0, first_seen=now,
            last_seen=now,
        )
        for place in range(CLIENTS)
    )  # fmt: skip
    MailboxLetter.objects.bulk_create(
        MailboxLetter(client=client, seq=seq, text="{}", created_at=now)
        for client in clients[::10]
        for seq in range(1, LETTERS + 1)
    )


def _minutes(size: Size, workers: list[Worker], now: datetime, chance: random.Random) -> Iterator[Minute]:
    """Give a day as a busy service has it: quiet at night, and its model slow for a while."""
    last = now.replace(second=0, microsecond=0)
    for ago in range(size.minutes):
        at = last - timedelta(minutes=ago)
        busy = 0.25 + 0.75 * (0.5 + 0.5 * math.cos((ago / (24 * 60)) * 2 * math.pi)) * chance.uniform(0.85, 1.15)
        slow = 2.5 if 20 < ago < 32 else 1.0
        for worker in workers[:WORKERS]:
            answers = int(30 * busy)
            yield Minute(
                at=at, worker=worker.uuid, connections=int(size.live / WORKERS * busy), messages=2 * answers + 4,
                answers=answers, errors=int(chance.random() < (0.6 if slow > 1 else 0.04)),
                first_words=_times(answers, 0.4 * slow, chance), whole_answers=_times(answers, 2.2 * slow, chance),
            )  # fmt: skip


def _times(count: int, middle: float, chance: random.Random) -> list[int]:
    counts = [0] * (len(BOUNDS) + 1)
    for _ in range(count):
        seconds = chance.lognormvariate(math.log(middle), 0.5)
        counts[bisect_left(BOUNDS, seconds)] += 1
    return counts
