"""Every read of what was said. Synchronous; asynchronous callers go through `Store.read`."""

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import F, Q, QuerySet, Sum, TextField, Window
from django.db.models.functions import Cast, Coalesce, Length

from conversations.models import ChatSession, Document, Feedback, Message, OutboxEntry, Pipeline, Route
from conversations.models import Turn as TurnRow
from conversations.responders.base import PastMessage, PipelineConfig, RouteConfig
from conversations.store import unhurried
from conversations.types import Citation, Outcome, Role, Sender, SessionKey, SessionType, StoredMessage, Turn, Upload
from conversations.uploads.selectors import uploads_of

PAGE_MESSAGES = 50  # of a replay are read at once, and kept while the peer reads
PAGE_CHARACTERS = 256 * 1024  # in these at most, where it is more than one
REPLAY_LIMIT = 300  # messages that a resume replays at most (R2); beyond it the client reloads the history
MEMORY_MESSAGES = 40  # newest messages that a model may be reminded of; tokens bound them further
SESSIONS_LISTED = 500
_NAMED = (Message.Role.OPERATOR, Message.Role.NOTICE)  # whose messages say who spoke, or is spoken of


class SessionState(msgspec.Struct, frozen=True):
    """What a connection needs to know of a session that exists."""

    key: SessionKey
    last_seq: int
    application: UUID | None
    wire: str


class Replay(msgspec.Struct, frozen=True):
    """What is replayed: all that came after a `seq` up to `last_seq`; nothing where it is not `complete`.

    It is not where too much came after it, or where that `seq` is `ahead` of all that there is.
    """

    last_seq: int
    complete: bool
    ahead: bool = False


class StoredDocument(msgspec.Struct, frozen=True):
    """A document as committed; `text` is None in a list. Times in UTC."""

    uuid: UUID
    title: str
    space: str
    url: str
    created_at: datetime
    updated_at: datetime
    text: str | None = None


def pipeline_configs() -> dict[UUID, PipelineConfig]:
    """Return every pipeline with its enabled routes."""
    routes: dict[int, list[RouteConfig]] = {}
    for route in Route.objects.filter(enabled=True).order_by("position", "id"):
        routes.setdefault(route.pipeline_id, []).append(
            RouteConfig(
                kind=route.kind,
                match=route.match,
                pattern=route.pattern,
                service=route.service,
                timeout=route.timeout,
                recall=route.recall,
                system_prompt=route.system_prompt,
                model=route.model,
                vision=route.vision,
            )
        )
    return {
        pipeline.uuid: PipelineConfig(
            id=pipeline.pk,
            uuid=pipeline.uuid,
            name=pipeline.name,
            description=pipeline.description,
            is_default=pipeline.is_default,
            failure_text=pipeline.failure_text,
            group_reply="always" if pipeline.group_reply == Pipeline.GroupReply.ALWAYS else "mentioned",
            group_prefix=pipeline.group_prefix,
            public=pipeline.public,
            routes=tuple(routes.get(pipeline.pk, ())),
        )
        for pipeline in Pipeline.objects.all()
    }


def session_state(session: UUID) -> SessionState | None:
    """Return the session of that UUID, or None while nothing was said in it."""
    row = ChatSession.objects.select_related("pipeline").filter(uuid=session).first()
    if row is None:
        return None
    return SessionState(session_key(row), row.last_seq, row.application, row.wire)


def last_seqs(sessions: Sequence[UUID]) -> dict[UUID, int]:
    """Return the newest `seq` of those of `sessions` that something was said in."""
    return dict(ChatSession.objects.filter(uuid__in=sessions).values_list("uuid", "last_seq"))


def replay(session: UUID, after_seq: int) -> Replay:
    """Return how far a session has got, and whether all since `after_seq` can be replayed: at most REPLAY_LIMIT."""
    state = session_state(session)
    return replay_to(state.last_seq if state else 0, after_seq)


def replay_to(last_seq: int, after_seq: int) -> Replay:
    """Return whether all that came after `after_seq` can be replayed to a session that has got to `last_seq`."""
    # Ahead, the client has seen what this database has not: another one, or one restored from a back-up.
    return Replay(last_seq, complete=0 <= last_seq - after_seq <= REPLAY_LIMIT, ahead=after_seq > last_seq)


def was_reset_since(session: UUID, seq: int) -> bool:
    """Tell whether a session began anew after its message `seq`."""
    return Message.objects.filter(session__uuid=session, seq=seq, epoch__lt=F("session__epoch")).exists()


def replay_page(session: UUID, after_seq: int, until_seq: int) -> list[StoredMessage]:
    """Return the next messages of a replay, in order, over resets too: one, or as many as PAGE_CHARACTERS hold."""
    missing = Message.objects.filter(session__uuid=session, seq__gt=after_seq, seq__lte=until_seq).order_by("seq")
    size = Length("text") + Coalesce(Length(Cast("components", TextField())), 0)
    so_far = Window(Sum(size), order_by="seq")
    page = missing.annotate(size=size, so_far=so_far).filter(Q(so_far__lte=PAGE_CHARACTERS) | Q(so_far=F("size")))
    found = _messages().filter(pk__in=page.values("pk")[:PAGE_MESSAGES]).order_by("seq")
    return [stored_message(row) for row in found]


def newest_within(session: UUID, after_seq: int, until_seq: int, characters: int) -> int:
    """Return the `seq` from which on, to `until_seq`, answers and the like have so many characters at most."""
    said = Message.objects.filter(session__uuid=session, seq__gt=after_seq, seq__lte=until_seq).exclude(role=Role.USER)
    newest = until_seq + 1
    for seq, length in said.order_by("-seq").values_list("seq", Length("text")):
        characters -= length
        if characters < 0:
            break
        newest = seq
    return newest


def messages_after(session: UUID, after_seq: int, limit: int) -> list[StoredMessage]:
    """Return at most `limit` messages of a session after `after_seq`, oldest first, of every epoch."""
    found = _messages().filter(session__uuid=session, seq__gt=after_seq).order_by("seq")
    return [stored_message(row) for row in found[:limit]]


@unhurried
def session_history(
    session: SessionKey, *, after_seq: int | None = None, before_seq: int | None = None, limit: int
) -> list[StoredMessage]:
    """Return the newest `limit` messages of a session's present epoch, oldest first; none of another pipeline's."""
    found = _messages().filter(
        session__uuid=session.uuid,
        session__pipeline__uuid=session.pipeline,
        session__session_type=session.session_type,
        epoch=F("session__epoch"),
    )
    if after_seq is not None:
        found = found.filter(seq__gt=after_seq)
    if before_seq is not None:
        found = found.filter(seq__lt=before_seq)
    return [stored_message(row) for row in reversed(found.order_by("-seq")[:limit])]


@unhurried
def pipeline_history(pipeline: UUID, session_type: SessionType, *, limit: int) -> list[StoredMessage]:
    """Return the newest `limit` messages over all sessions of that type, oldest first, each session in its order.

    The newest `limit` messages lie within the `limit` sessions spoken in last, which an index gives. Of each an equal
    share is read, and more only of those whose share was all new enough: few rounds, of at most twice `limit` rows.
    """
    # Asked for on its own: joined to the pipeline, PostgreSQL would read and sort all of its sessions.
    pipeline_id = Pipeline.objects.filter(uuid=pipeline).values_list("id", flat=True).first()
    if pipeline_id is None:
        return []
    recent = (
        ChatSession.objects.filter(pipeline_id=pipeline_id, session_type=session_type)
        .order_by("-last_message_at")
        .values_list("uuid", "id", "last_seq")[: min(limit, SESSIONS_LISTED)]
    )
    more = {uuid: (id_, last_seq) for uuid, id_, last_seq in recent}
    streams: dict[UUID, list[StoredMessage]] = {}
    newest: list[StoredMessage] = []
    share = 0
    while more:
        share = max(limit // len(more), 2 * share)
        streams |= _messages_from([(id_, last_seq - share) for id_, last_seq in more.values()])
        newest = list(heapq.merge(*streams.values(), key=lambda message: message.timestamp))[-limit:]
        told = {message.id for message in newest}
        more = {
            uuid: place
            for uuid, place in more.items()
            if share < limit and len(stream := streams.get(uuid, [])) >= share and stream[0].id in told
        }
    return newest


def _messages_from(places: Sequence[tuple[int, int]]) -> dict[UUID, list[StoredMessage]]:
    """Return of each session id what follows its `seq` in its present epoch, oldest first.

    The places are told one by one: compared with a column of the session, `seq` would be looked for in no index.
    """
    after = (Q(session_id=id_, seq__gt=seq) for id_, seq in places)
    found = _messages().filter(Q(*after, _connector=Q.OR), epoch=F("session__epoch"))
    streams: dict[UUID, list[StoredMessage]] = {}
    for row in found.order_by("session_id", "seq"):
        streams.setdefault(row.session.uuid, []).append(stored_message(row))
    return streams


def sessions_held() -> dict[UUID, datetime]:
    """Return the sessions that a person holds, and until when; of very many those that are due first."""
    held = ChatSession.objects.filter(held_until__isnull=False).order_by("held_until")
    return {uuid: until for uuid, until in held.values_list("uuid", "held_until")[:SESSIONS_LISTED] if until}


def message(id_: int) -> StoredMessage | None:
    """Return the message of that id, or None while there is none."""
    row = _messages().filter(pk=id_).first()
    return None if row is None else stored_message(row)


def opinions(answers: Sequence[int]) -> dict[int, str]:
    """Return what is thought of those of `answers` that something is thought of."""
    return dict(Feedback.objects.filter(message_id__in=answers).values_list("message_id", "value"))


def is_pending(answer: int) -> bool:
    """Tell whether a turn is open that is to end in the message of that id."""
    return TurnRow.objects.filter(pk=answer).exclude(state=TurnRow.State.ENDED).exists()


def past_messages(session_id: int, epoch: int, before_seq: int) -> list[PastMessage]:
    """Return what was said in an epoch before the question `before_seq`, the newest MEMORY_MESSAGES of it.

    Each answer follows its question, also where others were asked before it was there.
    """
    said = Message.objects.filter(session_id=session_id, epoch=epoch).exclude(role=Message.Role.NOTICE)
    found = (
        said.filter(Q(seq__lt=before_seq) | Q(question__seq__lt=before_seq))
        .order_by("-seq")
        .values_list("pk", "role", "text", Coalesce("question__seq", "seq"), "seq")[:MEMORY_MESSAGES]
    )
    files = uploads_of([pk for pk, role, *_ in found if role == Message.Role.USER])
    in_turn = sorted(found, key=lambda row: row[3:])
    return [PastMessage(Role(role), text, files.get(pk, ())) for pk, role, text, *_ in in_turn]


def files_of(message: int) -> tuple[Upload, ...]:
    """Return the files that were sent with a message."""
    return uploads_of([message]).get(message, ())


@unhurried
def documents(pipeline: UUID, *, after: UUID | None, limit: int) -> list[StoredDocument]:
    """Return at most `limit` documents of a pipeline, by UUID: a place that a deletion meanwhile does not move."""
    found = Document.objects.filter(pipeline__uuid=pipeline).order_by("uuid").defer("text")
    if after is not None:
        found = found.filter(uuid__gt=after)
    return [_stored_document(row) for row in found[:limit]]


@unhurried
def document(pipeline: UUID, uuid: UUID) -> StoredDocument | None:
    """Return a document of a pipeline with its text, or None."""
    row = Document.objects.filter(pipeline__uuid=pipeline, uuid=uuid).first()
    return None if row is None else _stored_document(row, row.text)


def running_turns(worker: UUID) -> list[Turn]:
    """Return the turns that run under a worker's lease, as the database has them."""
    found = TurnRow.objects.select_related("question", "session__pipeline")
    return [turn_value(row) for row in found.filter(state=TurnRow.State.RUNNING, worker=worker).order_by("id")]


def workers_with_turns() -> set[UUID]:
    """Return the workers that turns are running under."""
    return {
        worker
        for worker in TurnRow.objects.filter(state=TurnRow.State.RUNNING).values_list("worker", flat=True).distinct()
        if worker is not None
    }


def workers_with_claims() -> set[UUID]:
    """Return the workers that are delivering something out of the outbox."""
    claimed = OutboxEntry.objects.filter(state=OutboxEntry.State.WAITING, worker__isnull=False).order_by()
    return {worker for worker in claimed.values_list("worker", flat=True).distinct() if worker is not None}


def stored_message(row: Message) -> StoredMessage:
    """Return a message row, with its session and question joined, as a value."""
    # What an operator sends has no wire's components: there his files stand.
    has_files = row.components is not None and row.role == Message.Role.OPERATOR
    return StoredMessage(
        id=row.pk,
        session=row.session.uuid,
        session_type=_session_type(row.session),
        seq=row.seq,
        role=Role(row.role),
        text=row.text,
        timestamp=row.created_at.astimezone(UTC),
        components="" if row.components is None or has_files else msgspec.json.encode(row.components).decode(),
        connection_id=row.connection_id,
        reply_to=row.reply_to,
        citations=msgspec.convert(row.citations or (), tuple[Citation, ...]),
        sender=Sender(row.role, row.sender_name) if row.role in _NAMED else None,
        question_id=row.question_id,
        request_id=(row.question.client_msg_id if row.question else row.client_msg_id) or "",
        outcome=Outcome(row.outcome) if row.outcome else None,
        files=files_in(row.components) if has_files else (),
    )


def files_in(components: Any) -> tuple[Upload, ...]:
    """Return the files that an operator's message has, out of its components."""
    files: tuple[Upload, ...] = msgspec.convert(components, tuple[Upload, ...])
    return files


def turn_value(row: TurnRow) -> Turn:
    """Return a turn row, with question, session and pipeline joined, as a value."""
    return Turn(
        id=row.pk,
        session=session_key(row.session),
        session_id=row.session_id,
        epoch=row.epoch,
        question=row.prompt or row.question.text,
        question_id=row.question_id,
        question_seq=row.question.seq,
        language="en" if row.session.language == "en" else "zh-hans",
        reply_to=row.question.connection_id,
        stream=row.stream,
        started=row.created_at.astimezone(UTC),
        partial=row.partial,
        begun=row.begun_at is not None,
        request_id=row.question.client_msg_id or "",
        recall=row.recall,
        ends_as=_end_of(row),
        has_files=row.question.uploads.exists(),
    )


def _end_of(row: TurnRow) -> Outcome | None:
    """Return how an open turn is to end without anybody's being asked, None where it is to be answered."""
    if row.session.held_since is not None:
        return Outcome.HANDED
    return Outcome(row.outcome) if row.outcome and row.state != TurnRow.State.ENDED else None


def _stored_document(row: Document, text: str | None = None) -> StoredDocument:
    created, updated = row.created_at.astimezone(UTC), row.updated_at.astimezone(UTC)
    return StoredDocument(row.uuid, row.title, row.space, row.url, created, updated, text)


def _messages() -> QuerySet[Message]:
    return Message.objects.select_related("session", "question")


def session_key(row: ChatSession) -> SessionKey:
    """Return a session row, with its pipeline joined, as a key."""
    return SessionKey(row.uuid, row.pipeline.uuid, _session_type(row), row.name)


def _session_type(row: ChatSession) -> SessionType:
    return "group" if row.session_type == ChatSession.Kind.GROUP else "person"
