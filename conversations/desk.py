"""What the desk shows: the queue of conversations, and one of them as its operator reads it."""

import re
from datetime import datetime
from typing import Any, Literal, assert_never
from uuid import UUID

import msgspec
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Left

from conversations import contacts
from conversations.jobs.handover import HeldByAnother
from conversations.models import CannedReply, ChatSession, ContactRequest, Message, OutboxEntry
from conversations.store import Refused
from conversations.transcript import Transcript, read_transcript
from conversations.types import Language, SessionType

Which = Literal["open", "waiting", "mine", "done"]

EXCERPT = 120  # characters of what was said last
SEARCHED = 20_000  # newest messages, of all sessions, that are looked through for words
FOUND = 500  # sessions that are found by them at most
LINES = 100  # messages of a page of the transcript
SHORT_UUID = re.compile("[0-9a-f]{8,32}")
REQUESTS = 50  # contact requests of a session that are shown: the newest


class Conversation(msgspec.Struct, frozen=True):
    """One row of the queue, and the head of an open conversation.

    `request_state` is that of its newest contact request that is not closed, empty where there is none.
    """

    uuid: UUID
    name: str
    wire: str
    session_type: SessionType
    pipeline: str
    language: Language
    created_at: datetime
    last_message_at: datetime
    waiting_since: datetime | None
    held_by: str
    held_until: datetime | None
    is_mine: bool
    done_at: datetime | None
    last_words: str
    last_role: str
    request_state: str


class Opened(msgspec.Struct, frozen=True):
    """A conversation and a page of what was said in it."""

    conversation: Conversation
    transcript: Transcript


class Counts(msgspec.Struct, frozen=True):
    """How many conversations wait for a person, and are an operator's."""

    waiting: int
    mine: int


class DeliveryView(msgspec.Struct, frozen=True):
    """One way in which the owner is told of a request; `due_at` is when it is tried again while it waits."""

    id: int
    kind: str
    state: str
    attempts: int
    due_at: datetime
    ended_at: datetime | None
    error: str


class RequestView(msgspec.Struct, frozen=True):
    """A contact request of a session, what it says in short, and how its owner was told."""

    uuid: UUID
    text: str
    state: str
    state_label: str
    is_open: bool
    escalated: bool
    created_at: datetime
    deliveries: tuple[DeliveryView, ...]


def queue(which: Which, operator: int, *, words: str = "", limit: int = 60) -> list[Conversation]:
    """Return at most `limit` conversations: those that wait first, longest first, then held ones, then the newest.

    `words` are looked for in names and in the SEARCHED newest messages; a UUID, or its beginning, finds its session.
    """
    found = _sessions(words.strip())
    match which:
        case "waiting":
            rows = list(_waiting(found)[:limit])
        case "mine":
            mine = found.filter(holder_id=operator)
            rows = list(mine.order_by(F("waiting_since").asc(nulls_last=True), "-last_message_at")[:limit])
        case "done":
            rows = list(found.filter(done_at__isnull=False).order_by("-done_at")[:limit])
        case "open":
            # One by one, each along an index of its own: sorted together, all sessions would be read.
            rows = list(_waiting(found)[:limit])
            others = found.filter(waiting_since=None).order_by("-last_message_at")
            held = others.filter(held_until__isnull=False)
            rows += held[: limit - len(rows)]
            rows += others.filter(held_until=None, done_at=None)[: limit - len(rows)]
        case _:
            assert_never(which)
    return [_conversation(row, operator) for row in rows]


def counts(operator: int) -> Counts:
    """Return how long the parts of the queue are that concern an operator."""
    # Each along its own index, and both in one query.
    waiting = _counted("waiting", ChatSession.objects.filter(waiting_since__isnull=False))
    mine = _counted("mine", ChatSession.objects.filter(holder_id=operator))
    found = dict(waiting.union(mine, all=True))
    return Counts(waiting=found.get("waiting", 0), mine=found.get("mine", 0))


def _counted(part: str, sessions: QuerySet[ChatSession]) -> "QuerySet[ChatSession, tuple[str, int]]":
    named = sessions.order_by().annotate(part=Value(part)).values("part")
    return named.annotate(count=Count("pk")).values_list("part", "count")


def open_conversation(session: UUID, operator: int, before: int | None = None) -> Opened | None:
    """Return a conversation with its newest LINES messages, or the newest before that `seq`, and the notes among them.

    None where there is no such session.
    """
    row = _sessions("").filter(uuid=session).first()
    if row is None:
        return None
    return Opened(_conversation(row, operator), read_transcript(row, before, page=LINES, with_notes=True))


def pipeline_to_reply_in(session: UUID, operator: int) -> int:
    """Return the id of a session's pipeline; raise HeldByAnother or Refused where the operator cannot reply in it."""
    row = ChatSession.objects.filter(uuid=session).first()
    if row is None:
        raise Refused("There is no such session.")
    if row.held_since is not None and row.holder_id != operator:
        raise HeldByAnother(f"{row.held_by} has this conversation.")
    return row.pipeline_id


def requests(session: UUID) -> list[RequestView]:
    """Return the contact requests of a session, newest first."""
    found = ContactRequest.objects.filter(message__session__uuid=session).select_related("message")
    rows = list(found.order_by("-created_at", "-id")[:REQUESTS])
    deliveries: dict[int, list[DeliveryView]] = {}
    for entry in OutboxEntry.objects.filter(message_id__in=[row.message_id for row in rows]).order_by("id"):
        deliveries.setdefault(entry.message_id, []).append(
            DeliveryView(entry.pk, entry.kind, entry.state, entry.attempts, entry.due_at, entry.ended_at, entry.error)
        )
    return [
        RequestView(
            uuid=row.uuid,
            text=_excerpt(row.message.text),
            state=row.state,
            state_label=row.get_state_display(),
            is_open=row.state in contacts.OPEN,
            escalated=row.escalated,
            created_at=row.created_at,
            deliveries=tuple(deliveries.get(row.message_id, ())),
        )
        for row in rows
    ]


def canned_replies() -> list[tuple[str, str]]:
    """Return title and text of each canned reply, by title."""
    return list(CannedReply.objects.order_by("title").values_list("title", "text"))


def _sessions(words: str) -> QuerySet[ChatSession]:
    """Return the sessions in which `words` occur, each with what was said last in it and what is asked of the owner."""
    # Not our own notices, which would hide what the visitor waits with.
    last = Message.objects.filter(session=OuterRef("pk")).exclude(role=Message.Role.NOTICE).order_by("-seq")
    requests = ContactRequest.objects.filter(message__session=OuterRef("pk")).exclude(state=ContactRequest.State.CLOSED)
    found = ChatSession.objects.select_related("pipeline").annotate(
        last_words=Subquery(last.annotate(start=Left("text", 2 * EXCERPT)).values("start")[:1]),
        last_role=Subquery(last.values("role")[:1]),
        request_state=Subquery(requests.order_by("-created_at", "-id").values("state")[:1]),
    )
    if not words:
        return found
    newest = Message.objects.order_by("-id").values("id")[:SEARCHED]
    said = Message.objects.order_by().filter(pk__in=newest, text__icontains=words)
    sessions = set(said.values_list("session_id", flat=True).distinct()[:FOUND])
    wanted = Q(name__icontains=words) | Q(pk__in=sessions)
    if uuids := _uuids(words):
        wanted |= Q(uuid__range=uuids)
    return found.filter(wanted)


def _waiting(found: QuerySet[ChatSession]) -> QuerySet[ChatSession]:
    return found.filter(waiting_since__isnull=False).order_by("waiting_since")


def _conversation(row: Any, operator: int) -> Conversation:
    """Return a row of `_sessions` as a value."""
    return Conversation(
        uuid=row.uuid,
        name=row.name,
        wire=row.wire,
        session_type="group" if row.session_type == ChatSession.Kind.GROUP else "person",
        pipeline=row.pipeline.name,
        language="en" if row.language == "en" else "zh-hans",
        created_at=row.created_at,
        last_message_at=row.last_message_at,
        waiting_since=row.waiting_since,
        held_by=row.held_by if row.holder_id else "",  # nobody's, where the account is gone
        held_until=row.held_until,
        is_mine=row.holder_id == operator,
        done_at=row.done_at,
        last_words=_excerpt(row.last_words or ""),
        last_role=row.last_role or "",
        request_state=row.request_state or "",
    )


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= EXCERPT else f"{words[: EXCERPT - 1]}…"


def _uuids(words: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last UUID that begin as `words` say, as in "Visitor 1a2b3c4d"."""
    digits = words.lower().removeprefix("visitor").strip().replace("-", "")
    if not SHORT_UUID.fullmatch(digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
