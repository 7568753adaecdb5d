"""A turn's life in the database: begun, growing, ended once, or taken over from a dead worker."""

from collections.abc import Iterable, Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.db.models import F
from django.utils import timezone

from conversations import phrases, rows
from conversations.jobs import sessions
from conversations.jobs.questions import ANSWER_FIELDS, OUTBOX_FIELDS
from conversations.jobs.sessions import ConversationJob, Locked, LockedSession
from conversations.models import Message, OutboxEntry
from conversations.models import Turn as TurnRow
from conversations.selectors import stored_message, turn_value
from conversations.store import Refused
from conversations.types import Citation, Outcome, Role, StoredMessage, Turn, Usage

TAKEN_AT_ONCE = 500

_ENDED_FIELDS = (
    "state", "outcome", "partial", "responder", "prompt_tokens", "completion_tokens", "first_text_ms", "ended_at",
)  # fmt: skip


class Begin(ConversationJob, msgspec.Struct, frozen=True):
    """Note that a responder that must not be asked twice is about to begin."""

    rank: ClassVar[int] = 20
    turn: Turn
    worker: UUID

    @classmethod
    def sessions(cls, jobs: Sequence["Begin"]) -> Iterable[int]:
        """Return the ids of the turns' sessions."""
        return {job.turn.session_id for job in jobs}

    @classmethod
    def write(cls, jobs: Sequence["Begin"], locked: Locked) -> Sequence[None]:
        """Set the time, where the turn is still this worker's."""
        time = rows.adapt_time(timezone.now())
        values = [(time, job.turn.id, rows.adapt_uuid(job.worker), TurnRow.State.RUNNING.value) for job in jobs]
        rows.update(TurnRow, ("begun_at",), values, where=("id", "worker", "state"))
        return [None] * len(jobs)


class SavePartial(ConversationJob, msgspec.Struct, frozen=True):
    """Keep what an answer has said so far, for the case that this process dies.

    The result is how the turn is to end, where somebody has ended it, else None.
    """

    rank: ClassVar[int] = 25
    turn: Turn
    worker: UUID
    text: str

    @classmethod
    def sessions(cls, jobs: Sequence["SavePartial"]) -> Iterable[int]:
        """Return the ids of the turns' sessions."""
        return {job.turn.session_id for job in jobs}

    @classmethod
    def write(cls, jobs: Sequence["SavePartial"], locked: Locked) -> Sequence[Outcome | None]:
        """Set the text, where the turn is still this worker's and nobody has ended it: what comes then is not shown."""
        state = TurnRow.State.RUNNING.value
        values = [(job.text, job.turn.id, rows.adapt_uuid(job.worker), state, "") for job in jobs]
        rows.update(TurnRow, ("partial",), values, where=("id", "worker", "state", "outcome"))
        ended = TurnRow.objects.filter(pk__in={job.turn.id for job in jobs}, state=state).exclude(outcome="")
        outcomes = dict(ended.values_list("id", "outcome"))
        return [Outcome(outcomes[job.turn.id]) if job.turn.id in outcomes else None for job in jobs]


class GiveUp(ConversationJob, msgspec.Struct, frozen=True):
    """Wait no more for an answer; the result tells whether this was the last who did: it is to be ended, as `outcome`.

    Whoever asks the same question from then on has it asked anew.
    """

    rank: ClassVar[int] = 28
    session: UUID
    turn: int
    outcome: Outcome

    @classmethod
    def sessions(cls, jobs: Sequence["GiveUp"]) -> Iterable[int]:
        """Return the ids of the turns' sessions."""
        return sessions.find({job.session for job in jobs}).values()

    @classmethod
    def write(cls, jobs: Sequence["GiveUp"], locked: Locked) -> Sequence[bool]:
        """Count it under the locks of the sessions: who asks the same question is counted under them too."""
        return [job.is_last() for job in jobs]

    def is_last(self) -> bool:
        """Count one less; note the end of an open turn that nobody waits for any more."""
        turn = TurnRow.objects.filter(pk=self.turn).exclude(state=TurnRow.State.ENDED)
        turn.update(waiting=F("waiting") - 1)
        unwanted = turn.filter(waiting__lte=0).exclude(outcome=Outcome.HANDED)  # that one ends as it is
        return bool(unwanted.update(outcome=self.outcome.value))


class Finished(msgspec.Struct, frozen=True):
    """The stored answer, and the session's next turn, now this worker's to run; `in_outbox`: it is to be delivered."""

    message: StoredMessage
    next_turn: Turn | None = None
    in_outbox: bool = False


class Finish(ConversationJob, msgspec.Struct, frozen=True):
    """Store a turn's answer and end the turn, once; the result is a Finished.

    Refused: the turn is not this worker's any more. Asked again after an unknown outcome, it returns the stored answer.
    Where a person holds the conversation, or has taken it over meanwhile, only what was `shown` is stored.
    """

    rank: ClassVar[int] = 30
    turn: Turn
    worker: UUID
    text: str
    outcome: Outcome
    citations: tuple[Citation, ...] = ()
    usage: Usage | None = None
    responder: str = ""
    first_text_ms: int | None = None
    shown: str = ""

    @classmethod
    def sessions(cls, jobs: Sequence["Finish"]) -> Iterable[int]:
        """Return the ids of the turns' sessions."""
        return {job.turn.session_id for job in jobs}

    @classmethod
    def write(cls, jobs: Sequence["Finish"], locked: Locked) -> Sequence[Finished | Refused]:
        """End all the turns under the locks of their sessions."""
        time = rows.adapt_time(timezone.now())
        states = _lock_turns(jobs)
        results: list[Finished | Refused] = []
        messages: list[rows.Row] = []
        turns: list[rows.Row] = []
        outbox: list[rows.Row] = []
        for sent in jobs:
            state, worker, notify, ends_as = states.get(sent.turn.id, ("", None, "", ""))
            job = sent.handed(locked) if sent.is_handed(locked, ends_as) else sent
            if worker != job.worker:
                results.append(Refused("The turn was taken over by another worker."))
            elif state == TurnRow.State.ENDED:
                stored = Message.objects.select_related("session", "question").get(pk=job.turn.id)
                results.append(Finished(stored_message(stored)))
            else:
                session = locked[job.turn.session.uuid]
                message = job.answer(session.next_seq())
                session.open_turns -= 1
                messages.append(job.message_row(message, session))
                turns.append(job.ended_row(time))
                if notify:
                    outbox.append((notify, message.id, OutboxEntry.State.WAITING.value, 0, time, "", time))
                results.append(Finished(message, _claim_next(session, job.worker), bool(notify)))
        rows.insert(Message, ANSWER_FIELDS, messages)
        rows.update(TurnRow, _ENDED_FIELDS, turns, where=("id",))
        rows.insert(OutboxEntry, OUTBOX_FIELDS, outbox)
        return results

    def is_handed(self, locked: Locked, ends_as: str) -> bool:
        """Tell whether a person has taken the answer over; `ends_as` is what the turn's row says of its end."""
        session = locked.get(self.turn.session.uuid)
        return session is not None and (session.is_held or Outcome.HANDED in (self.outcome, ends_as))

    def handed(self, locked: Locked) -> "Finish":
        """Return the end of an answer that a person has taken over."""
        notice = phrases.HANDED[locked[self.turn.session.uuid].language]
        text = f"{self.shown}\n\n{notice}" if self.shown else notice
        return msgspec.structs.replace(self, text=text, outcome=Outcome.HANDED, citations=())

    def answer(self, seq: int) -> StoredMessage:
        """Return the answer as a message with that `seq`."""
        turn = self.turn
        return StoredMessage(
            id=turn.id,
            session=turn.session.uuid,
            session_type=turn.session.session_type,
            seq=seq,
            role=Role.ASSISTANT,
            text=self.text,
            timestamp=turn.started,
            reply_to=turn.reply_to,
            citations=self.citations,
            question_id=turn.question_id,
            request_id=turn.request_id,
            outcome=self.outcome,
        )

    def message_row(self, message: StoredMessage, session: LockedSession) -> rows.Row:
        """Return the row of ANSWER_FIELDS."""
        citations = msgspec.json.encode(self.citations).decode() if self.citations else None
        return (
            message.id, session.id, message.seq, self.turn.epoch, Role.ASSISTANT.value, self.text, citations, "",
            message.reply_to, "", self.turn.question_id, self.outcome.value, rows.adapt_time(self.turn.started),
        )  # fmt: skip

    def ended_row(self, time: object) -> rows.Row:
        """Return the row of _ENDED_FIELDS, then the id."""
        usage = self.usage or Usage()
        return (
            TurnRow.State.ENDED.value, self.outcome.value, "", self.responder, usage.prompt_tokens,
            usage.completion_tokens, self.first_text_ms, time, self.turn.id,
        )  # fmt: skip


class TakeOver(ConversationJob, msgspec.Struct, frozen=True):
    """Make the running turns of dead workers this worker's; the result is the list of those it got."""

    rank: ClassVar[int] = 40
    worker: UUID
    dead: tuple[UUID, ...]

    @classmethod
    def write(cls, jobs: Sequence["TakeOver"], locked: Locked) -> Sequence[list[Turn]]:
        """Take what no other worker is taking at this moment."""
        return [job.take() for job in jobs]

    def take(self) -> list[Turn]:
        """Claim what is free and return it."""
        free = (
            TurnRow.objects.select_for_update(skip_locked=True)
            .filter(state=TurnRow.State.RUNNING, worker__in=self.dead)
            .order_by("id")
            .values_list("id", flat=True)
        )
        taken = list(free[:TAKEN_AT_ONCE])
        TurnRow.objects.filter(pk__in=taken).update(worker=self.worker)
        found = TurnRow.objects.select_related("question", "session__pipeline").filter(pk__in=taken).order_by("id")
        return [turn_value(row) for row in found]


def _lock_turns(jobs: Sequence[Finish]) -> dict[int, tuple[str, UUID | None, str, str]]:
    found = TurnRow.objects.select_for_update().filter(id__in=[job.turn.id for job in jobs]).order_by("id")
    fields = found.values_list("id", "state", "worker", "notify", "outcome")
    return {id_: (state, worker, notify, outcome) for id_, state, worker, notify, outcome in fields}


def _claim_next(session: LockedSession, worker: UUID) -> Turn | None:
    """Make the session's oldest waiting turn this worker's."""
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
