"""A question comes in: stored with its place in the session, its turn opened, once per client message id."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations import rows
from conversations.jobs import sessions
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.models import ChatSession, Message
from conversations.models import Turn as TurnRow
from conversations.phrases import language_of
from conversations.selectors import stored_message
from conversations.store import Refused
from conversations.types import Accepted, Question, Role, StoredMessage, Turn

IDEMPOTENT_FOR = timedelta(hours=24)
OPEN_TURNS = 50  # questions of one session that may wait for an answer; one more is refused

_SESSION_FIELDS = (
    "uuid", "pipeline", "session_type", "name", "wire", "language", "application", "epoch", "last_seq",
    "open_turns", "created_at", "last_message_at",
)  # fmt: skip
_MESSAGE_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "components", "connection_id", "reply_to", "sender_name",
    "client_msg_id", "created_at",
)  # fmt: skip
_TURN_FIELDS = (
    "id", "session", "question", "epoch", "state", "prompt", "stream", "worker", "partial", "outcome", "responder",
    "prompt_tokens", "completion_tokens", "created_at",
)  # fmt: skip


class Accept(ConversationJob, msgspec.Struct, frozen=True):
    """Store a question and, where it wants an answer, open its turn; the result is an Accepted.

    Refused: the client message id was used for something else, or too many questions of the session are waiting.
    """

    rank: ClassVar[int] = 10
    question: Question
    pipeline_id: int
    worker: UUID

    @classmethod
    def sessions(cls, jobs: Sequence["Accept"]) -> Iterable[int]:
        """Return the sessions' ids, those of new ones too.

        They are made before any is locked: who waits for another worker to make the same room holds no lock.
        """
        wanted = {job.question.session.uuid: job for job in jobs}
        found = sessions.find(wanted)
        if missing := sorted(wanted.keys() - found.keys()):
            now = timezone.now()
            new = [_new_session(wanted[uuid], now) for uuid in missing]
            rows.insert(ChatSession, _SESSION_FIELDS, new, ignore="uuid")
            found |= sessions.find(missing)
        return found.values()

    @classmethod
    def write(cls, jobs: Sequence["Accept"], locked: Locked) -> Sequence[Accepted | Refused]:
        """Store all `jobs` under the locks of their sessions."""
        now = timezone.now()
        batch = _Batch(now, _already_stored(jobs, locked, now), jobs)
        results = [batch.accept(job, locked[job.question.session.uuid]) for job in jobs]
        rows.insert(Message, _MESSAGE_FIELDS, batch.messages)
        rows.insert(TurnRow, _TURN_FIELDS, batch.turns)
        return results


class _Batch:
    """The rows of one batch as they come together."""

    def __init__(self, now: datetime, known: dict[tuple[int, str], Accepted], jobs: Sequence[Accept]) -> None:
        self.messages: list[rows.Row] = []
        self.turns: list[rows.Row] = []
        self._now = now
        self._time = rows.adapt_time(now)
        self._known = known
        self._ids = iter(rows.reserve_message_ids(sum(2 if job.question.wants_answer else 1 for job in jobs)))

    def accept(self, job: Accept, session: LockedSession) -> Accepted | Refused:
        question = job.question
        key = (session.id, question.client_msg_id or "")
        if question.client_msg_id and (same := self._known.get(key)):
            return _duplicate(question, same)
        if question.wants_answer and session.open_turns >= OPEN_TURNS:
            return Refused("Too many questions are waiting for an answer, please wait for the next one.")
        message = self._add_message(question, session)
        turn = self._add_turn(job, session, message) if question.wants_answer else None
        accepted = Accepted(message, turn)
        if question.client_msg_id:
            self._known[key] = accepted
        return accepted

    def _add_message(self, question: Question, session: LockedSession) -> StoredMessage:
        message = StoredMessage(
            id=next(self._ids),
            session=session.uuid,
            session_type=question.session.session_type,
            seq=session.next_seq(),
            role=Role.USER,
            text=question.text,
            timestamp=self._now,
            components=question.components,
            connection_id=question.connection_id,
        )
        self.messages.append((
            message.id, session.id, message.seq, session.epoch, Role.USER.value, question.text,
            question.components or None, question.connection_id, "", "", question.client_msg_id or None, self._time,
        ))  # fmt: skip
        return message

    def _add_turn(self, job: Accept, session: LockedSession, message: StoredMessage) -> Turn | None:
        """Open a turn and return it, or None while another of the session is ahead of it."""
        question = job.question
        prompt = "" if question.prompt == question.text else question.prompt
        turn = Turn(
            id=next(self._ids),
            session=question.session,
            session_id=session.id,
            epoch=session.epoch,
            question=prompt or question.text,
            question_seq=message.seq,
            language=session.language,
            reply_to=question.connection_id,
            stream=question.stream,
            started=self._now,
        )
        first = session.open_turns == 0
        session.open_turns += 1
        state = TurnRow.State.RUNNING if first else TurnRow.State.QUEUED
        worker = rows.adapt_uuid(job.worker) if first else None
        self.turns.append((
            turn.id, session.id, message.id, session.epoch, state.value, prompt, turn.stream, worker, "", "", "", 0, 0,
            self._time,
        ))  # fmt: skip
        return turn if first else None


def _new_session(job: Accept, now: datetime) -> rows.Row:
    question, time = job.question, rows.adapt_time(now)
    key = question.session
    return (
        rows.adapt_uuid(key.uuid), job.pipeline_id, key.session_type, key.name, question.wire,
        language_of(question.text), rows.adapt_uuid(question.application), 0, 0, 0, time, time,
    )  # fmt: skip


def _already_stored(jobs: Sequence[Accept], locked: Locked, now: datetime) -> dict[tuple[int, str], Accepted]:
    """Return what is stored under the client message ids of `jobs`; those of yesterday are set free."""
    named = [job.question for job in jobs if job.question.client_msg_id]
    if not named:
        return {}
    messages = Message.objects.select_related("session")
    found = messages.filter(
        session_id__in={locked[question.session.uuid].id for question in named},
        client_msg_id__in={question.client_msg_id for question in named},
    )
    known: dict[tuple[int, str], Accepted] = {}
    expired = []
    for row in found:
        if row.created_at < now - IDEMPOTENT_FOR:
            expired.append(row.pk)
            continue
        answer = messages.filter(pk__in=TurnRow.objects.filter(question=row).values("id")).first()
        known[row.session_id, row.client_msg_id or ""] = Accepted(
            stored_message(row), duplicate=True, answer=stored_message(answer) if answer else None
        )
    if expired:
        Message.objects.filter(pk__in=expired).update(client_msg_id=None)
    return known


def _duplicate(question: Question, same: Accepted) -> Accepted | Refused:
    if question.text != same.message.text or _json(question.components) != _json(same.message.components):
        return Refused("client_msg_id was already used for another message")
    return Accepted(same.message, duplicate=True, answer=same.answer)


def _json(components: str) -> Any:
    return msgspec.json.decode(components) if components else None
