"""A question comes in: stored with its place in the session, its turn opened, once per client message id."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import F
from django.utils import timezone

from conversations import rows
from conversations.jobs import sessions
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.jobs.uploads import Attaching
from conversations.models import ChatSession, ContactRequest, Message, OutboxEntry
from conversations.models import Turn as TurnRow
from conversations.phrases import CALLED, HELD, language_of
from conversations.selectors import stored_message
from conversations.store import Refused
from conversations.types import Accepted, Outcome, Question, Role, StoredMessage, Turn

IDEMPOTENT_FOR = timedelta(hours=24)
COMPLETE = {Outcome.ANSWERED, Outcome.UNKNOWN, Outcome.HANDED}  # ends after which the same id is not asked again
CONTACT_KINDS = ("email", "webhook")  # the outbox entries of a contact request
OPEN_TURNS = 50  # questions of one session that may wait for an answer; one more is refused

_SESSION_FIELDS = (
    "uuid", "pipeline", "session_type", "name", "wire", "language", "application", "epoch", "last_seq",
    "open_turns", "created_at", "last_message_at",
)  # fmt: skip
_MESSAGE_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "components", "connection_id", "reply_to", "sender_name",
    "client_msg_id", "outcome", "created_at",
)  # fmt: skip
_TURN_FIELDS = (
    "id", "session", "question", "epoch", "state", "prompt", "stream", "recall", "notify", "waiting", "worker",
    "partial", "outcome", "responder", "prompt_tokens", "completion_tokens", "created_at",
)  # fmt: skip
ANSWER_FIELDS = (
    "id", "session", "seq", "epoch", "role", "text", "citations", "connection_id", "reply_to", "sender_name",
    "question", "outcome", "created_at",
)  # fmt: skip
_CONTACT_FIELDS = ("uuid", "pipeline", "message", "escalated", "user_agent", "state", "created_at")
OUTBOX_FIELDS = ("kind", "message", "state", "attempts", "due_at", "error", "created_at")


class IdReused(Refused):
    """The client message id was used for something else."""


class QueueFull(Refused):
    """Too many questions of the session are waiting."""


class Accept(ConversationJob, msgspec.Struct, frozen=True):
    """Store a question and, where it wants an answer, open its turn; the result is an Accepted.

    Refused as IdReused, QueueFull or UploadTaken. `wants_person` has the session wait for one, as do a contact request
    and whatever is said to a person who holds it.
    """

    rank: ClassVar[int] = 10
    question: Question
    pipeline_id: int
    worker: UUID
    wants_person: bool = False

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
        rows.insert(Message, ANSWER_FIELDS, batch.answers)
        rows.insert(TurnRow, _TURN_FIELDS, batch.turns)
        rows.insert(ContactRequest, _CONTACT_FIELDS, batch.contacts)
        rows.insert(OutboxEntry, OUTBOX_FIELDS, batch.outbox)
        batch.uploads.write()
        for turn, notify in sorted(batch.repeats):
            TurnRow.objects.filter(pk=turn).update(waiting=F("waiting") + 1, **({"notify": notify} if notify else {}))
        return results


class _Batch:
    """The rows of one batch as they come together."""

    def __init__(self, now: datetime, known: dict[tuple[int, str], Accepted], jobs: Sequence[Accept]) -> None:
        self.messages: list[rows.Row] = []
        self.answers: list[rows.Row] = []  # notices, in the answer's place
        self.turns: list[rows.Row] = []
        self.contacts: list[rows.Row] = []
        self.outbox: list[rows.Row] = []
        self.repeats: list[tuple[int, str]] = []  # turns whose question came again, and who delivers the answer
        self.uploads = Attaching(job.question.uploads for job in jobs)
        self._now = now
        self._time = rows.adapt_time(now)
        self._known = known
        self._ids = iter(rows.reserve_message_ids(sum(2 if job.question.wants_answer else 1 for job in jobs)))

    def accept(self, job: Accept, session: LockedSession) -> Accepted | Refused:
        question = job.question
        key = (session.id, question.client_msg_id or "")
        if question.client_msg_id and (same := self._known.get(key)):
            again = _duplicate(question, same)
            if isinstance(again, Refused):
                return again
            if not _may_retry(question, again):
                self._note_repeat(question, again)
                return again
            Message.objects.filter(pk=again.message.id).update(client_msg_id=None)
        if question.uploads and (refusal := self.uploads.refusal(question.uploads, job.pipeline_id, session.id)):
            return refusal
        if question.wants_answer and session.open_turns >= OPEN_TURNS:
            return QueueFull("Too many questions are waiting for an answer, please wait for the next one.")
        message = self._add_message(question, session)
        self.uploads.attach(question.uploads, session.id, message.id)
        session.reopen()
        if job.wants_person or question.contact is not None or session.is_held:
            session.wait(self._time)
        accepted = Accepted(message)
        if question.only_contact or (session.is_held and question.wants_answer and question.needs_end):
            notice = self._add_notice(question, session, message)
            accepted = Accepted(message, answer_id=notice.id, answer=notice)
        elif question.wants_answer and not session.is_held:
            id_, turn = self._add_turn(job, session, message)
            accepted = Accepted(message, turn, answer_id=id_)
        if question.contact is not None:
            self._add_contact(job, message)
        if question.client_msg_id:
            self._known[key] = accepted
        return accepted

    def _note_repeat(self, question: Question, same: Accepted) -> None:
        """Note that one more waits for an answer, or have the one that is there delivered to him, once."""
        if same.answer_id is None:
            return
        if same.answer is None:
            self.repeats.append((same.answer_id, question.notify))
        elif question.notify:
            OutboxEntry.objects.get_or_create(
                kind=question.notify,
                message_id=same.answer.id,
                defaults={"due_at": self._now, "created_at": self._now},
            )

    def _add_contact(self, job: Accept, message: StoredMessage) -> None:
        """Open a contact request, and what is to tell the owner of it."""
        question = job.question
        self.contacts.append((
            rows.adapt_uuid(question.contact), job.pipeline_id, message.id, question.escalated,
            question.user_agent[:300], ContactRequest.State.RECEIVED.value, self._time,
        ))  # fmt: skip
        for kind in CONTACT_KINDS:
            self._add_entry(kind, message.id)

    def _add_entry(self, kind: str, message: int) -> None:
        self.outbox.append((kind, message, OutboxEntry.State.WAITING.value, 0, self._time, "", self._time))

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
            request_id=question.client_msg_id or "",
        )
        self.messages.append((
            message.id, session.id, message.seq, session.epoch, Role.USER.value, question.text,
            question.components or None, question.connection_id, "", "", question.client_msg_id or None, "", self._time,
        ))  # fmt: skip
        return message

    def _add_turn(self, job: Accept, session: LockedSession, message: StoredMessage) -> tuple[int, Turn | None]:
        """Open a turn and return its id, and itself unless another of the session is ahead of it."""
        question = job.question
        turn = Turn(
            id=next(self._ids),
            session=question.session,
            session_id=session.id,
            epoch=session.epoch,
            question=question.prompt or question.text,
            question_id=message.id,
            question_seq=message.seq,
            language=session.language,
            reply_to=question.connection_id,
            stream=question.stream,
            started=self._now,
            request_id=question.client_msg_id or "",
            recall=question.recall,
            has_files=bool(question.uploads),
        )
        first = session.open_turns == 0
        session.open_turns += 1
        state = TurnRow.State.RUNNING if first else TurnRow.State.QUEUED
        worker = rows.adapt_uuid(job.worker) if first else None
        self._add_turn_row(question, session, turn.id, message.id, state, worker, "")
        return turn.id, turn if first else None

    def _add_notice(self, question: Question, session: LockedSession, message: StoredMessage) -> StoredMessage:
        """Answer at once that a person has the session, or was told, as a turn that has ended."""
        text, outcome = (HELD, Outcome.HANDED) if session.is_held else (CALLED, Outcome.ANSWERED)
        notice = StoredMessage(
            id=next(self._ids),
            session=session.uuid,
            session_type=message.session_type,
            seq=session.next_seq(),
            role=Role.ASSISTANT,
            text=text[session.language],
            timestamp=self._now,
            reply_to=question.connection_id,
            question_id=message.id,
            request_id=message.request_id,
            outcome=outcome,
        )
        self._add_turn_row(question, session, notice.id, message.id, TurnRow.State.ENDED, None, outcome)
        self.answers.append((
            notice.id, session.id, notice.seq, session.epoch, notice.role.value, notice.text, None, "",
            notice.reply_to, "", message.id, outcome.value, self._time,
        ))  # fmt: skip
        if question.notify:
            self._add_entry(question.notify, notice.id)
        return notice

    def _add_turn_row(
        self, question: Question, session: LockedSession, turn: int, message: int, state: TurnRow.State, worker: Any,
        outcome: str,
    ) -> None:  # fmt: skip
        prompt = "" if question.prompt == question.text else question.prompt
        self.turns.append((
            turn, session.id, message, session.epoch, state.value, prompt, question.stream, question.recall,
            question.notify, 1, worker, "", outcome, "", 0, 0, self._time,
        ))  # fmt: skip


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
    messages = Message.objects.select_related("session", "question")
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
        turn = TurnRow.objects.filter(question=row).values_list("id", flat=True).first()
        answer = messages.filter(pk=turn).first() if turn is not None else None
        known[row.session_id, row.client_msg_id or ""] = Accepted(
            stored_message(row), duplicate=True, answer_id=turn, answer=stored_message(answer) if answer else None
        )
    if expired:
        Message.objects.filter(pk__in=expired).update(client_msg_id=None)
    return known


def _duplicate(question: Question, same: Accepted) -> Accepted | Refused:
    if question.text != same.message.text or _json(question.components) != _json(same.message.components):
        return IdReused("client_msg_id was already used for another message")
    return Accepted(same.message, duplicate=True, answer_id=same.answer_id, answer=same.answer)


def _may_retry(question: Question, same: Accepted) -> bool:
    """Tell whether a question is asked anew: it was answered, but not completely, or it was given up."""
    if not question.retry_failed or same.answer_id is None:
        return False
    if same.answer is None:
        return TurnRow.objects.filter(pk=same.answer_id).exclude(outcome__in=("", Outcome.HANDED)).exists()
    return same.answer.outcome not in COMPLETE


def _json(components: str) -> Any:
    return msgspec.json.decode(components) if components else None
