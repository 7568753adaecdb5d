"""The writes of a conversation, as jobs of the store: each applies all of its kind in a few statements.

Locks are taken in one order: sessions by id, then turns. Under the session's lock `seq` and ids only grow.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import F
from django.utils import timezone

from conversations import rows
from conversations.models import ChatSession, Message, Turn as TurnRow
from conversations.phrases import language_of
from conversations.selectors import stored_message, turn_value
from conversations.store import Job, Refused
from conversations.types import (
    Accepted,
    Citation,
    Outcome,
    Question,
    Role,
    StoredMessage,
    Turn,
    Usage,
)

IDEMPOTENT_FOR = timedelta(hours=24)
OPEN_TURNS = 50  # questions of one session that may wait for an answer; one more is refused

SESSION_FIELDS = (
    "uuid", "pipeline", "session_type", "name", "wire", "language", "application", "epoch", "last_seq",
    "open_turns", "created_at", "last_message_at",
)  # fmt: skip
MESSAGE_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "components", "citations", "connection_id", "reply_to",
    "sender_name", "client_msg_id", "created_at",
)  # fmt: skip
TURN_FIELDS = (
    "id", "session", "question", "epoch", "state", "prompt", "stream", "worker", "partial", "outcome", "responder",
    "prompt_tokens", "completion_tokens", "created_at",
)  # fmt: skip


class _Session(msgspec.Struct):
    """A locked session while a batch is applied."""

    id: int
    uuid: UUID
    epoch: int
    last_seq: int
    open_turns: int
    language: str


def _lock_sessions(**which: Any) -> dict[UUID, _Session]:
    found = (
        ChatSession.objects.select_for_update()
        .filter(**which)
        .order_by("id")
        .values_list("id", "uuid", "epoch", "last_seq", "open_turns", "language")
    )
    return {row[1]: _Session(*row) for row in found}


def _save_sessions(sessions: Iterable[_Session], now: datetime) -> None:
    time = rows.adapt_time(now)
    rows.update(
        ChatSession,
        ("last_seq", "open_turns", "last_message_at"),
        [(session.last_seq, session.open_turns, time, session.id) for session in sessions],
        where=("id",),
    )


class Accept(Job, msgspec.Struct, frozen=True):
    """Store a question and, where it wants an answer, open its turn; the result is an Accepted.

    Refused: the client message id was used for something else, or too many questions of the session are waiting.
    """

    question: Question
    pipeline_id: int
    worker: UUID

    rank = 10

    @classmethod
    def apply(cls, jobs: Sequence["Accept"]) -> Sequence[Accepted | Refused]:
        now = timezone.now()
        sessions = cls._sessions(jobs, now)
        known = cls._already_stored(jobs, sessions, now)
        ids = iter(rows.reserve_message_ids(sum(2 if job.question.wants_answer else 1 for job in jobs)))
        time = rows.adapt_time(now)
        results: list[Accepted | Refused] = []
        messages: list[rows.Row] = []
        turns: list[rows.Row] = []
        for job in jobs:
            question = job.question
            session = sessions[question.session.uuid]
            same = known.get((session.id, question.client_msg_id)) if question.client_msg_id else None
            if same is not None:
                results.append(_duplicate(question, same))
                continue
            if question.wants_answer and session.open_turns >= OPEN_TURNS:
                results.append(Refused("Too many questions are waiting for an answer, please wait for the next one."))
                continue
            session.last_seq += 1
            message = StoredMessage(
                id=next(ids), session=session.uuid, session_type=question.session.session_type, seq=session.last_seq,
                role=Role.USER, text=question.text, timestamp=now, components=question.components,
                connection_id=question.connection_id,
            )  # fmt: skip
            components = None if question.components is None else bytes(question.components).decode()
            messages.append((
                message.id, session.id, message.seq, session.epoch, Role.USER.value, question.text, components, None,
                question.connection_id, "", "", question.client_msg_id, time,
            ))  # fmt: skip
            turn = None
            if question.wants_answer:
                prompt = "" if question.prompt == question.text else question.prompt
                turn = Turn(
                    id=next(ids), session=question.session, session_id=session.id, epoch=session.epoch,
                    question=prompt or question.text, question_seq=message.seq,
                    language="en" if session.language == "en" else "zh-hans",
                    reply_to=question.connection_id, stream=question.stream, started=now,
                )  # fmt: skip
                first = session.open_turns == 0
                session.open_turns += 1
                state = TurnRow.State.RUNNING if first else TurnRow.State.QUEUED
                worker = rows.adapt_uuid(job.worker) if first else None
                turns.append((
                    turn.id, session.id, message.id, session.epoch, state.value, prompt, turn.stream, worker, "", "", "",
                    0, 0, time,
                ))  # fmt: skip
                turn = turn if first else None
            accepted = Accepted(message, turn)
            if question.client_msg_id:
                known[session.id, question.client_msg_id] = accepted
            results.append(accepted)
        rows.insert(Message, MESSAGE_FIELDS, messages)
        rows.insert(TurnRow, TURN_FIELDS, turns)
        _save_sessions(sessions.values(), now)
        return results

    @staticmethod
    def _sessions(jobs: Sequence["Accept"], now: datetime) -> dict[UUID, _Session]:
        """Lock the sessions of `jobs`, made where they are missing."""
        wanted = {job.question.session.uuid: job for job in jobs}
        sessions = _lock_sessions(uuid__in=wanted)
        missing = wanted.keys() - sessions.keys()
        if missing:
            time = rows.adapt_time(now)
            new = []
            for uuid in missing:
                job = wanted[uuid]
                key = job.question.session
                new.append((
                    rows.adapt_uuid(uuid), job.pipeline_id, key.session_type, key.name, job.question.wire,
                    language_of(job.question.text), rows.adapt_uuid(job.question.application), 0, 0, 0, time, time,
                ))  # fmt: skip
            # Another worker may be making the same room at this moment: then its row is the one to lock.
            rows.insert(ChatSession, SESSION_FIELDS, new, ignore="uuid")
            sessions |= _lock_sessions(uuid__in=missing)
        return sessions

    @staticmethod
    def _already_stored(
        jobs: Sequence["Accept"], sessions: dict[UUID, _Session], now: datetime
    ) -> dict[tuple[int, str | None], Accepted]:
        """Return what is stored under the client message ids of `jobs`; those of yesterday are set free."""
        named = [job.question for job in jobs if job.question.client_msg_id]
        if not named:
            return {}
        found = Message.objects.select_related("session").filter(
            session_id__in={sessions[question.session.uuid].id for question in named},
            client_msg_id__in={question.client_msg_id for question in named},
        )
        known: dict[tuple[int, str | None], Accepted] = {}
        expired = []
        for row in found:
            if row.created_at < now - IDEMPOTENT_FOR:
                expired.append(row.pk)
                continue
            answer = Message.objects.select_related("session").filter(pk__in=TurnRow.objects.filter(question=row).values("id"))
            known[row.session_id, row.client_msg_id] = Accepted(
                stored_message(row), duplicate=True, answer=next(map(stored_message, answer), None)
            )
        if expired:
            Message.objects.filter(pk__in=expired).update(client_msg_id=None)
        return known


def _duplicate(question: Question, same: Accepted) -> Accepted | Refused:
    if question.text != same.message.text or _json(question.components) != _json(same.message.components):
        return Refused("client_msg_id was already used for another message")
    return Accepted(same.message, duplicate=True, answer=same.answer)


def _json(components: msgspec.Raw | None) -> Any:
    return None if components is None else msgspec.json.decode(components)


class Begin(Job, msgspec.Struct, frozen=True):
    """Note that a responder that must not be asked twice is about to begin."""

    turn: int
    worker: UUID

    rank = 20

    @classmethod
    def apply(cls, jobs: Sequence["Begin"]) -> Sequence[None]:
        time = rows.adapt_time(timezone.now())
        values = [(time, job.turn, rows.adapt_uuid(job.worker), TurnRow.State.RUNNING.value) for job in jobs]
        rows.update(TurnRow, ("begun_at",), values, where=("id", "worker", "state"))
        return [None] * len(jobs)


class SavePartial(Job, msgspec.Struct, frozen=True):
    """Keep what an answer has said so far, for the case that this process dies."""

    turn: int
    worker: UUID
    text: str

    rank = 25

    @classmethod
    def apply(cls, jobs: Sequence["SavePartial"]) -> Sequence[None]:
        values = [(job.text, job.turn, rows.adapt_uuid(job.worker), TurnRow.State.RUNNING.value) for job in jobs]
        rows.update(TurnRow, ("partial",), values, where=("id", "worker", "state"))
        return [None] * len(jobs)


class Finished(msgspec.Struct, frozen=True):
    """The stored answer, and the session's next turn, which is now this worker's to run."""

    message: StoredMessage
    next_turn: Turn | None = None


class Finish(Job, msgspec.Struct, frozen=True):
    """Store a turn's answer and end the turn, once; the result is a Finished.

    Refused: the turn is not this worker's any more. Asked again after an unknown outcome, it returns the stored answer.
    """

    turn: Turn
    worker: UUID
    text: str
    outcome: Outcome
    citations: tuple[Citation, ...] = ()
    usage: Usage | None = None
    responder: str = ""
    first_text_ms: int | None = None

    rank = 30

    @classmethod
    def apply(cls, jobs: Sequence["Finish"]) -> Sequence[Finished | Refused]:
        now = timezone.now()
        sessions = _lock_sessions(id__in={job.turn.session_id for job in jobs})
        states = {
            row[0]: row[1:]
            for row in TurnRow.objects.select_for_update()
            .filter(id__in=[job.turn.id for job in jobs])
            .values_list("id", "state", "worker")
        }
        results: list[Finished | Refused] = []
        messages: list[rows.Row] = []
        turns: list[rows.Row] = []
        ended: list[_Session] = []
        time = rows.adapt_time(now)
        for job in jobs:
            state, worker = states.get(job.turn.id, (None, None))
            if worker != job.worker or state is None:
                results.append(Refused("The turn was taken over by another worker."))
                continue
            if state == TurnRow.State.ENDED:
                stored = Message.objects.select_related("session").get(pk=job.turn.id)
                results.append(Finished(stored_message(stored)))
                continue
            session = sessions[job.turn.session.uuid]
            session.last_seq += 1
            session.open_turns -= 1
            ended.append(session)
            message = job._message(session.last_seq)
            citations = msgspec.json.encode(job.citations).decode() if job.citations else None
            messages.append((
                message.id, session.id, message.seq, job.turn.epoch, Role.ASSISTANT.value, job.text, None, citations,
                "", message.reply_to, "", None, rows.adapt_time(job.turn.started),
            ))  # fmt: skip
            usage = job.usage or Usage()
            turns.append((
                TurnRow.State.ENDED.value, job.outcome.value, "", job.responder, usage.prompt_tokens,
                usage.completion_tokens, job.first_text_ms, time, job.turn.id,
            ))  # fmt: skip
            results.append(Finished(message, cls._claim_next(session, job.worker)))
        rows.insert(Message, MESSAGE_FIELDS, messages)
        rows.update(
            TurnRow,
            ("state", "outcome", "partial", "responder", "prompt_tokens", "completion_tokens", "first_text_ms",
             "ended_at"),
            turns,
            where=("id",),
        )  # fmt: skip
        _save_sessions(ended, now)
        return results

    def _message(self, seq: int) -> StoredMessage:
        turn = self.turn
        return StoredMessage(
            id=turn.id, session=turn.session.uuid, session_type=turn.session.session_type, seq=seq,
            role=Role.ASSISTANT, text=self.text, timestamp=turn.started, reply_to=turn.reply_to,
            citations=self.citations,
        )  # fmt: skip

    @staticmethod
    def _claim_next(session: _Session, worker: UUID) -> Turn | None:
        if not session.open_turns:
            return None
        row = (
            TurnRow.objects.select_related("question", "session__pipeline")
            .filter(session_id=session.id, state=TurnRow.State.QUEUED)
            .order_by("id")
            .first()
        )
        if row is None:
            return None
        TurnRow.objects.filter(pk=row.pk).update(state=TurnRow.State.RUNNING, worker=worker)
        return turn_value(row)


class TakeOver(Job, msgspec.Struct, frozen=True):
    """Make the running turns of dead workers this worker's; the result is the list of those it got."""

    worker: UUID
    dead: tuple[UUID, ...]

    rank = 40

    @classmethod
    def apply(cls, jobs: Sequence["TakeOver"]) -> Sequence[list[Turn]]:
        return [cls._take(job) for job in jobs]

    @staticmethod
    def _take(job: "TakeOver") -> list[Turn]:
        free = (
            TurnRow.objects.select_for_update(skip_locked=True)
            .filter(state=TurnRow.State.RUNNING, worker__in=job.dead)
            .order_by("id")
            .values_list("id", flat=True)
        )
        taken = list(free[:500])
        TurnRow.objects.filter(pk__in=taken).update(worker=job.worker)
        found = TurnRow.objects.select_related("question", "session__pipeline").filter(pk__in=taken).order_by("id")
        return [turn_value(row) for row in found]


class Reset(Job, msgspec.Struct, frozen=True):
    """Begin a new epoch in a session, or in all of a pipeline with one session type; returns how many."""

    pipeline_id: int
    session_type: str
    session: UUID | None = None

    rank = 60

    @classmethod
    def apply(cls, jobs: Sequence["Reset"]) -> Sequence[int]:
        results = []
        for job in jobs:
            sessions = ChatSession.objects.filter(pipeline_id=job.pipeline_id, session_type=job.session_type)
            if job.session is not None:
                sessions = sessions.filter(uuid=job.session)
            # Locked in the same order as everywhere, or two resets of everything could lock crosswise.
            ids = list(sessions.select_for_update().order_by("id").values_list("id", flat=True))
            results.append(ChatSession.objects.filter(pk__in=ids).update(epoch=F("epoch") + 1))
        return results
