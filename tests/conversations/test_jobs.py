"""What each write leaves in the database, and who is refused; committed as the store commits it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from conversations.jobs import (
    IDEMPOTENT_FOR,
    OPEN_TURNS,
    Accept,
    Begin,
    Finish,
    Finished,
    GiveUp,
    Hold,
    Reset,
    SaveFeedback,
    SavePartial,
    TakeOver,
)
from conversations.jobs.sessions import ConversationJob
from conversations.models import ChatSession, ContactRequest, Message, OutboxEntry, Pipeline
from conversations.models import Turn as TurnRow
from conversations.phrases import CALLED, JOINED
from conversations.selectors import messages_after, opinions
from conversations.store import Job, Refused, commit
from conversations.types import (
    Accepted,
    Citation,
    Opinion,
    Outcome,
    Question,
    Role,
    SessionKey,
    Turn,
    Usage,
    room_key,
)
from tests.conversations.conftest import Database
from tests.conversations.doubles import new_session, question
from tests.support.waiting import wait_until

postgres_only = pytest.mark.parametrize("database", ["postgres"], indirect=True)


class Writer:
    """Commits what one worker of a pipeline writes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.uuid = uuid4()

    def accept_all(self, questions: Sequence[Question]) -> list[Any]:
        """Commit questions in one batch."""
        return commit([Accept(asked, self.pipeline.pk, self.uuid) for asked in questions])

    def accept(self, asked: Question) -> Accepted:
        (result,) = self.accept_all([asked])
        assert isinstance(result, Accepted), result
        return result

    def ask(self, session: SessionKey, text: str = "What is it?", **fields: Any) -> Turn:
        """Commit a question whose turn is this worker's to run."""
        turn = self.accept(question(session, text, **fields)).turn
        assert turn is not None
        return turn

    def finish(self, turn: Turn, text: str = "An answer.", **fields: Any) -> Any:
        return only(Finish(turn, self.uuid, text, fields.pop("outcome", Outcome.ANSWERED), **fields))


@pytest.fixture
def writer(pipeline: Pipeline) -> Writer:
    return Writer(pipeline)


@pytest.fixture
def session(pipeline: Pipeline) -> SessionKey:
    return new_session(pipeline)


def only(job: Job) -> Any:
    """Commit one job and return its result."""
    (result,) = commit([job])
    return result


def state(turn: Turn) -> TurnRow:
    return TurnRow.objects.get(pk=turn.id)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run each in a thread with a connection of its own, all beginning together."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        try:
            barrier.wait(10)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


# --- Accept ------------------------------------------------------------------------------------


def test_the_first_question_makes_the_session(writer: Writer, pipeline: Pipeline) -> None:
    application = uuid4()
    key = room_key(pipeline.uuid, "hall")
    accepted = writer.accept(question(key, "Hello there", application=application, connection_id="c1"))
    session = ChatSession.objects.get(uuid=key.uuid)
    assert (session.pipeline, session.session_type, session.name) == (pipeline, "group", "hall")
    assert (session.wire, session.language, session.application) == ("langbot", "en", application)
    assert (session.epoch, session.last_seq, session.open_turns) == (0, 1, 1)
    assert accepted.message.seq == 1
    assert (accepted.message.role, accepted.message.text) == (Role.USER, "Hello there")
    assert accepted.turn is not None
    assert accepted.turn.reply_to == accepted.message.connection_id == "c1"


def test_what_is_stored_is_what_was_told(writer: Writer, session: SessionKey) -> None:
    components = '[{"type":"Plain","text":"ai hi"},{"type":"At","target":"x"}]'
    told = writer.accept(
        question(session, "ai hi@x", prompt="hi", components=components, connection_id="c1", client_msg_id="m1")
    )
    row = Message.objects.get(pk=told.message.id)
    assert (row.seq, row.role, row.text, row.connection_id, row.client_msg_id) == (1, "user", "ai hi@x", "c1", "m1")
    assert row.components == msgspec.json.decode(components)
    assert row.created_at == told.message.timestamp
    assert told.turn is not None
    assert told.turn.question == "hi"
    assert state(told.turn).prompt == "hi"
    assert state(told.turn).question_id == row.pk


def test_seq_has_no_gap_and_ids_grow(writer: Writer, pipeline: Pipeline) -> None:
    keys = [new_session(pipeline) for _ in range(3)]
    told: list[Accepted] = []
    for _ in range(3):
        told += writer.accept_all([question(key) for key in keys for _ in range(4)])
    for key in keys:
        own = [accepted.message for accepted in told if accepted.message.session == key.uuid]
        assert [message.seq for message in own] == list(range(1, 13))
        stored = list(Message.objects.filter(session__uuid=key.uuid).order_by("seq").values_list("id", flat=True))
        assert [message.id for message in own] == stored == sorted(stored)
    turns = TurnRow.objects.filter(session__uuid__in=[key.uuid for key in keys]).values_list("id", flat=True)
    assert len({*turns, *(accepted.message.id for accepted in told)}) == 72


def test_only_the_first_question_of_a_session_runs_at_once(writer: Writer, session: SessionKey) -> None:
    first, second = writer.accept_all([question(session, "one"), question(session, "two")])
    third = writer.accept(question(session, "three"))
    assert first.turn is not None
    assert second.turn is None
    assert third.turn is None
    rows = TurnRow.objects.filter(session__uuid=session.uuid).order_by("id")
    assert [(row.state, row.worker) for row in rows] == [
        ("running", writer.uuid), ("queued", None), ("queued", None),
    ]  # fmt: skip


def test_a_message_that_wants_no_answer_opens_no_turn(writer: Writer, session: SessionKey) -> None:
    accepted = writer.accept(question(session, wants_answer=False))
    assert accepted.turn is None
    assert not TurnRow.objects.filter(session__uuid=session.uuid).exists()
    assert ChatSession.objects.get(uuid=session.uuid).open_turns == 0
    assert writer.ask(session).question_seq == 2


def test_too_many_waiting_questions_are_refused_until_one_is_answered(writer: Writer, session: SessionKey) -> None:
    results = writer.accept_all([question(session) for _ in range(OPEN_TURNS + 2)])
    assert [isinstance(result, Refused) for result in results] == [False] * OPEN_TURNS + [True] * 2
    assert writer.accept(question(session, wants_answer=False)).message.seq == OPEN_TURNS + 1
    writer.finish(results[0].turn)
    assert writer.accept(question(session)).message.seq == OPEN_TURNS + 3
    assert isinstance(writer.accept_all([question(session)])[0], Refused)


def test_two_workers_that_make_the_same_room_at_once_share_it(pipeline: Pipeline) -> None:
    key = room_key(pipeline.uuid, "hall")
    writers = [Writer(pipeline) for _ in range(4)]
    results = at_once(*(lambda one=one: one.accept(question(key)) for one in writers))
    assert ChatSession.objects.filter(uuid=key.uuid).count() == 1
    assert sorted(result.message.seq for result in results) == [1, 2, 3, 4]
    assert sum(result.turn is not None for result in results) == 1


@postgres_only
def test_a_room_that_another_worker_is_making_is_waited_for(pipeline: Pipeline, database: Database) -> None:
    key = room_key(pipeline.uuid, "hall")
    first, second = Writer(pipeline), Writer(pipeline)

    def late() -> Accepted:
        try:
            return second.accept(question(key))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread, database.connect() as other:
        with transaction.atomic():
            (early,) = Accept.apply([Accept(question(key), pipeline.pk, first.uuid)])
            waiting = thread.submit(late)
            wait_until(lambda: has_lock_waiter(other), timeout=10, what="the second worker")
        assert isinstance(early, Accepted)
        assert early.turn is not None
        assert (early.message.seq, waiting.result(10).message.seq) == (1, 2)
        assert waiting.result().turn is None


def test_many_workers_in_one_session_leave_no_gap(pipeline: Pipeline) -> None:
    keys = [room_key(pipeline.uuid, name) for name in ("hall", "yard")]
    writers = [Writer(pipeline) for _ in range(4)]

    def ask(one: Writer, order: int) -> list[Accepted]:
        # Named in opposite orders: the sessions' locks must not cross.
        return [told for _ in range(5) for told in one.accept_all([question(key) for key in keys[::order]])]

    results = at_once(
        *(lambda one=one, order=order: ask(one, order) for one, order in zip(writers, (1, -1, 1, -1), strict=True))
    )
    told = [accepted for result in results for accepted in result]
    assert all(isinstance(accepted, Accepted) for accepted in told)
    for key in keys:
        seqs = sorted(accepted.message.seq for accepted in told if accepted.message.session == key.uuid)
        assert seqs == list(range(1, 21))


# --- Idempotence -------------------------------------------------------------------------------


def test_the_same_message_twice_in_one_batch_is_stored_once(writer: Writer, session: SessionKey) -> None:
    first, second = writer.accept_all([question(session, client_msg_id="m1")] * 2)
    assert not first.duplicate
    assert second.duplicate
    assert second.turn is None
    assert second.message == first.message
    assert Message.objects.filter(session__uuid=session.uuid).count() == 1


def test_the_same_message_later_is_told_with_its_answer(writer: Writer, session: SessionKey) -> None:
    asked = question(session, client_msg_id="m1", components='[{"b":1,"a":"x"}]')
    first = writer.accept(asked)
    assert first.turn is not None
    unanswered = writer.accept(asked)
    assert (unanswered.duplicate, unanswered.message.id, unanswered.answer) == (True, first.message.id, None)
    finished = writer.finish(first.turn)
    again = writer.accept(asked)
    assert again.answer == finished.message
    assert again.message.seq == 1
    assert writer.accept(question(session, "next")).message.seq == 3


@pytest.mark.parametrize("changes", [{"text": "Other"}, {"components": '[{"a":2}]'}, {"components": ""}], ids=str)
@pytest.mark.parametrize("together", [True, False], ids=["one-batch", "later"])
def test_the_same_id_with_another_body_is_refused(
    writer: Writer, session: SessionKey, changes: dict[str, Any], together: bool
) -> None:
    first = question(session, client_msg_id="m1", components='[{"a":1}]')
    second = msgspec.structs.replace(first, **changes)
    if together:
        told, refused = writer.accept_all([first, second])
    else:
        (told,), (refused,) = writer.accept_all([first]), writer.accept_all([second])
    assert isinstance(told, Accepted)
    assert isinstance(refused, Refused)
    assert "client_msg_id" in str(refused)
    assert Message.objects.filter(session__uuid=session.uuid).count() == 1


def test_the_same_id_in_another_session_is_another_message(writer: Writer, pipeline: Pipeline) -> None:
    told = writer.accept_all([question(new_session(pipeline), client_msg_id="m1") for _ in range(2)])
    assert [accepted.duplicate for accepted in told] == [False, False]


def test_an_id_is_free_again_after_a_day(writer: Writer, session: SessionKey) -> None:
    first = writer.accept(question(session, "one", client_msg_id="m1"))
    Message.objects.filter(pk=first.message.id).update(
        created_at=timezone.now() - IDEMPOTENT_FOR + timedelta(minutes=1)
    )
    assert writer.accept(question(session, "one", client_msg_id="m1")).duplicate
    Message.objects.filter(pk=first.message.id).update(
        created_at=timezone.now() - IDEMPOTENT_FOR - timedelta(minutes=1)
    )
    second = writer.accept(question(session, "two", client_msg_id="m1"))
    assert not second.duplicate
    assert second.message.seq == 2
    assert Message.objects.get(pk=first.message.id).client_msg_id is None


def test_the_same_message_at_many_workers_at_once_is_stored_once(pipeline: Pipeline, session: SessionKey) -> None:
    asked = question(session, client_msg_id="m1")
    results = at_once(*(lambda one=one: one.accept(asked) for one in [Writer(pipeline) for _ in range(4)]))
    assert sorted(result.duplicate for result in results) == [False, True, True, True]
    assert len({result.message.id for result in results}) == 1


# --- Wishes of who repeats a question, and giving up -------------------------------------------


def deliveries(turn: Turn) -> list[str]:
    return list(OutboxEntry.objects.filter(message_id=turn.id).values_list("kind", flat=True))


def again(session: SessionKey, **wishes: Any) -> Question:
    return question(session, client_msg_id="m1", retry_failed=True, **wishes)


def test_who_repeats_an_open_question_gets_its_answer_delivered_too(pipeline: Pipeline, session: SessionKey) -> None:
    writer, other = Writer(pipeline), Writer(pipeline)
    turn = writer.ask(session, client_msg_id="m1")
    for _ in range(2):
        assert other.accept(again(session, notify="call")).duplicate
    assert other.accept(again(session)).duplicate
    assert deliveries(turn) == []
    assert writer.finish(turn).in_outbox
    assert deliveries(turn) == ["call"]


def test_who_repeats_an_answered_question_gets_its_answer_delivered_once(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session, client_msg_id="m1")
    assert not writer.finish(turn).in_outbox
    writer.accept(again(session))
    assert deliveries(turn) == []
    for repeated in ([again(session, notify="call")] * 2, [again(session, notify="call")]):
        assert all(accepted.duplicate for accepted in writer.accept_all(repeated))
        assert deliveries(turn) == ["call"]


def test_what_was_delivered_is_not_delivered_again_to_who_repeats_it(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session, client_msg_id="m1", notify="call")
    writer.finish(turn)
    writer.accept(again(session, notify="call"))
    assert deliveries(turn) == ["call"]


def test_a_wish_in_the_batch_of_the_question_itself_is_noted(writer: Writer, session: SessionKey) -> None:
    first, _ = writer.accept_all([again(session), again(session, notify="call")])
    assert not only(GiveUp(session.uuid, first.turn.id, Outcome.STOPPED))
    writer.finish(first.turn)
    assert deliveries(first.turn) == ["call"]


def test_the_last_who_leaves_on_any_worker_ends_an_answer(pipeline: Pipeline, session: SessionKey) -> None:
    writer, other = Writer(pipeline), Writer(pipeline)
    turn = writer.ask(session, client_msg_id="m1")
    leaving = GiveUp(session.uuid, turn.id, Outcome.STOPPED)
    assert other.accept(again(session)).duplicate
    assert not only(leaving)
    assert other.accept(again(session)).duplicate
    assert commit([leaving, leaving]) == [False, True]


def test_what_was_given_up_is_asked_anew(pipeline: Pipeline, session: SessionKey) -> None:
    writer, other = Writer(pipeline), Writer(pipeline)
    turn = writer.ask(session, client_msg_id="m1")
    assert only(GiveUp(session.uuid, turn.id, Outcome.STOPPED))
    anew = other.accept(again(session, notify="call"))
    assert not anew.duplicate
    assert not writer.finish(turn, "So f", outcome=Outcome.STOPPED).in_outbox
    assert deliveries(turn) == []
    assert state(turn).outcome == "stopped"


def test_what_is_over_is_not_given_up(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    writer.finish(turn)
    assert not only(GiveUp(session.uuid, turn.id, Outcome.STOPPED))
    assert state(turn).outcome == "answered"


def test_of_one_who_comes_and_one_who_leaves_at_once_only_one_has_his_way(pipeline: Pipeline) -> None:
    for _ in range(10):
        session = new_session(pipeline)
        turn = Writer(pipeline).ask(session, client_msg_id="m1")
        came, given_up = at_once(
            partial(Writer(pipeline).accept, again(session)),
            partial(only, GiveUp(session.uuid, turn.id, Outcome.STOPPED)),
        )
        assert came.duplicate is not given_up


@postgres_only
def test_workers_who_write_each_others_turns_crosswise_never_wait_for_one_another(pipeline: Pipeline) -> None:
    for _ in range(10):
        one, two = Writer(pipeline), Writer(pipeline)
        sessions = [new_session(pipeline) for _ in range(2)]
        turns = [writer.ask(session, client_msg_id="m1") for writer, session in zip((one, two), sessions, strict=True)]
        batches = [
            partial(commit, [Accept(again(sessions[1]), pipeline.pk, one.uuid), SavePartial(turns[0], one.uuid, "A")]),
            partial(commit, [Accept(again(sessions[0]), pipeline.pk, two.uuid), SavePartial(turns[1], two.uuid, "B")]),
        ]
        for accepted, _ in at_once(*batches):
            assert accepted.duplicate
        assert [state(turn).partial for turn in turns] == ["A", "B"]


# --- Begin, SavePartial, Finish ----------------------------------------------------------------


def test_a_finished_turn_leaves_its_answer(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session, connection_id="c1")
    only(SavePartial(turn, writer.uuid, "An"))
    citation = Citation("d1", "faq", "标题", "https://a.test/", 0.5)
    finished = writer.finish(
        turn, "An answer.", citations=(citation,), usage=Usage(3, 5), responder="openai", first_text_ms=12
    )
    assert isinstance(finished, Finished)
    message = finished.message
    assert (message.id, message.seq, message.role, message.text) == (turn.id, 2, Role.ASSISTANT, "An answer.")
    assert (message.reply_to, message.citations, message.timestamp) == ("c1", (citation,), turn.started)
    assert finished.next_turn is None
    assert Message.objects.get(pk=turn.id).citations == [msgspec.to_builtins(citation)]
    row = state(turn)
    assert (row.state, row.outcome, row.partial, row.responder) == ("ended", "answered", "", "openai")
    assert (row.prompt_tokens, row.completion_tokens, row.first_text_ms) == (3, 5, 12)
    assert row.ended_at is not None
    assert ChatSession.objects.get(uuid=session.uuid).open_turns == 0


def test_finishing_claims_the_next_turn_in_order(pipeline: Pipeline, session: SessionKey) -> None:
    first, other = Writer(pipeline), Writer(pipeline)
    turn = first.ask(session, "one")
    other.accept(question(session, "two", prompt="2", connection_id="c2", stream=False))
    other.accept(question(session, "three"))
    following = first.finish(turn).next_turn
    assert (following.question, following.question_seq, following.reply_to, following.stream) == ("2", 2, "c2", False)
    assert following.session == session
    assert state(following).worker == first.uuid
    last = first.finish(following)
    assert last.next_turn.question == "three"
    assert first.finish(last.next_turn).next_turn is None
    rows = Message.objects.filter(session__uuid=session.uuid).order_by("seq").values_list("seq", "text")
    assert list(rows) == [(1, "one"), (2, "two"), (3, "three")] + [(seq, "An answer.") for seq in (4, 5, 6)]


def test_turns_of_many_sessions_finish_in_one_batch(writer: Writer, pipeline: Pipeline) -> None:
    turns = [writer.ask(new_session(pipeline)) for _ in range(3)]
    results = commit([Finish(turn, writer.uuid, str(turn.id), Outcome.ANSWERED) for turn in turns])
    assert [(result.message.text, result.message.seq) for result in results] == [(str(turn.id), 2) for turn in turns]


def test_finishing_again_returns_what_was_stored(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    first = writer.finish(turn, "First.")
    again = writer.finish(turn, "Second.", outcome=Outcome.FAILED)
    assert (again.message.text, again.message.seq) == ("First.", first.message.seq)
    assert state(turn).outcome == "answered"
    assert Message.objects.filter(session__uuid=session.uuid).count() == 2


def test_the_same_end_twice_in_one_batch_is_stored_once(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    results = commit([Finish(turn, writer.uuid, "An answer.", Outcome.ANSWERED)] * 2)
    assert [result.message.seq for result in results] == [2, 2]
    assert Message.objects.filter(session__uuid=session.uuid).count() == 2


def test_a_turn_that_was_taken_over_is_not_its_old_workers(pipeline: Pipeline, session: SessionKey) -> None:
    old, new = Writer(pipeline), Writer(pipeline)
    turn = old.ask(session)
    only(Begin(turn, old.uuid))
    only(SavePartial(turn, old.uuid, "So far"))
    (taken,) = only(TakeOver(new.uuid, (old.uuid,)))
    assert (taken.id, taken.begun, taken.partial) == (turn.id, True, "So far")
    only(SavePartial(turn, old.uuid, "Later"))
    assert isinstance(old.finish(turn), Refused)
    assert state(turn).partial == "So far"
    assert isinstance(new.finish(taken), Finished)
    assert isinstance(old.finish(turn), Refused)
    assert Message.objects.filter(session__uuid=session.uuid).count() == 2


def test_a_late_note_changes_no_ended_turn(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    writer.finish(turn)
    assert commit([Begin(turn, writer.uuid), SavePartial(turn, writer.uuid, "Late")]) == [None, None]
    assert (state(turn).begun_at, state(turn).partial) == (None, "")


def test_a_turn_that_does_not_exist_is_refused(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    assert isinstance(writer.finish(msgspec.structs.replace(turn, id=turn.id + 10**9)), Refused)


# --- TakeOver ----------------------------------------------------------------------------------


def test_only_the_running_turns_of_the_dead_are_taken(pipeline: Pipeline) -> None:
    dead, alive, taker = Writer(pipeline), Writer(pipeline), Writer(pipeline)
    lost = [dead.ask(new_session(pipeline)) for _ in range(2)]
    ended = dead.ask(new_session(pipeline))
    dead.finish(ended)
    dead.accept(question(lost[0].session, "queued"))
    others = alive.ask(new_session(pipeline))
    taken = only(TakeOver(taker.uuid, (dead.uuid, uuid4())))
    assert taken == lost
    assert state(others).worker == alive.uuid
    assert only(TakeOver(taker.uuid, (dead.uuid,))) == []
    assert taker.finish(taken[0]).next_turn.question == "queued"


def test_of_two_takers_at_once_each_turn_gets_one(pipeline: Pipeline) -> None:
    dead, takers = Writer(pipeline), [Writer(pipeline) for _ in range(3)]
    lost = [dead.ask(new_session(pipeline)) for _ in range(5)]
    results = at_once(*(lambda one=one: only(TakeOver(one.uuid, (dead.uuid,))) for one in takers))
    owners: dict[int, UUID] = {}
    for taker, taken in zip(takers, results, strict=True):
        assert owners.keys().isdisjoint(turn.id for turn in taken)
        owners |= {turn.id: taker.uuid for turn in taken}
    assert owners == {turn.id: state(turn).worker for turn in lost}


@postgres_only
def test_a_second_taker_passes_by_what_the_first_is_taking(pipeline: Pipeline, database: Database) -> None:
    dead, first, second = Writer(pipeline), Writer(pipeline), Writer(pipeline)
    turn = dead.ask(new_session(pipeline))
    with transaction.atomic():
        (taken,) = TakeOver.apply([TakeOver(first.uuid, (dead.uuid,))])
        assert taken == [turn]
        assert at_once(lambda: only(TakeOver(second.uuid, (dead.uuid,)))) == [[]]
    assert state(turn).worker == first.uuid


# --- Reset -------------------------------------------------------------------------------------


def test_a_reset_begins_an_epoch_and_keeps_the_transcript(writer: Writer, session: SessionKey) -> None:
    writer.finish(writer.ask(session, "old"))
    begun = only(Reset(writer.pipeline.pk, "person", session.uuid))
    turn = writer.ask(session, "new")
    assert (begun.count, begun.notices) == (1, ())
    old, new = (Message.objects.filter(session__uuid=session.uuid, epoch=epoch) for epoch in (0, 1))
    assert max(row.pk for row in old) < begun.first_id < min(row.pk for row in new)
    assert (turn.epoch, turn.question_seq) == (1, 3)
    writer.finish(turn)
    rows = Message.objects.filter(session__uuid=session.uuid).order_by("seq").values_list("seq", "epoch")
    assert list(rows) == [(1, 0), (2, 0), (3, 1), (4, 1)]


def test_a_reset_names_what_is_still_to_be_answered(writer: Writer, session: SessionKey) -> None:
    other = new_session(writer.pipeline)
    ended, running = writer.ask(session, "ended"), writer.ask(other, "running elsewhere")
    queued = [writer.accept(question(session, text)).message for text in ("next", "last")]
    writer.finish(ended)
    begun = only(Reset(writer.pipeline.pk, "person", session.uuid))
    left = TurnRow.objects.filter(question__in=[message.id for message in queued]).order_by("id")
    waiting = tuple((session.uuid, turn.pk) for turn in left)
    assert len(waiting) == 2
    assert begun.turns == waiting
    assert only(Reset(writer.pipeline.pk, "person")).turns == ((other.uuid, running.id), *waiting)
    assert only(Reset(writer.pipeline.pk, "group")).turns == ()
    late = Reset(writer.pipeline.pk, "person").reset([])  # sessions made since the locks were taken
    assert (late.count, late.turns) == (0, ())
    assert not TurnRow.objects.get(pk=running.id).outcome


def test_who_has_a_session_has_it_after_a_reset_and_it_says_so(writer: Writer, session: SessionKey) -> None:
    writer.finish(writer.ask(session, "old"))
    assert only(Hold(session.uuid, User.objects.create_user(f"ann-{uuid4()}").pk, "Ann", 60)).notice
    begun = only(Reset(writer.pipeline.pk, "person", session.uuid))
    (notice,) = begun.notices
    assert (notice.role, notice.text) == (Role.NOTICE, JOINED["en"].format(name="Ann"))
    assert notice.id > begun.first_id
    assert Message.objects.get(pk=notice.id).epoch == 1
    assert ChatSession.objects.get(uuid=session.uuid).held_by == "Ann"


def test_an_answer_belongs_to_the_epoch_of_its_question(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    only(Reset(writer.pipeline.pk, "person", session.uuid))
    writer.finish(turn)
    assert Message.objects.get(pk=turn.id).epoch == 0


def test_a_reset_reaches_the_sessions_of_its_pipeline_and_type(writer: Writer, pipeline: Pipeline) -> None:
    people, room = [new_session(pipeline) for _ in range(2)], room_key(pipeline.uuid, "hall")
    other = Pipeline.objects.create(name="Other")
    foreign = new_session(other)
    for key in (*people, room):
        writer.ask(key)
    Writer(other).ask(foreign)
    assert only(Reset(pipeline.pk, "person")).count == 2
    assert only(Reset(pipeline.pk, "group", people[0].uuid)).count == 0
    assert only(Reset(pipeline.pk, "person", foreign.uuid)).count == 0
    epochs = [ChatSession.objects.get(uuid=key.uuid).epoch for key in (*people, room, foreign)]
    assert epochs == [1, 1, 0, 0]


# --- A person, opinions --------------------------------------------------------------------------


def test_a_message_for_a_person_is_answered_at_once_and_opens_a_request(writer: Writer, session: SessionKey) -> None:
    request = uuid4()
    asked = question(session, "Call me, please.", contact=request, only_contact=True, client_msg_id="c")
    accepted = writer.accept(asked)
    assert accepted.turn is None
    assert accepted.answer is not None
    assert (accepted.answer.text, accepted.answer.outcome) == (CALLED["en"], Outcome.ANSWERED)
    assert [message.seq for message in messages_after(session.uuid, 0, 9)] == [1, 2]
    opened = ContactRequest.objects.get(uuid=request)
    assert (opened.message_id, opened.escalated) == (accepted.message.id, False)
    again = writer.accept(asked)
    assert again.duplicate
    assert again.answer == accepted.answer
    assert ContactRequest.objects.filter(message__session__uuid=session.uuid).count() == 1
    assert ChatSession.objects.get(uuid=session.uuid).open_turns == 0


def test_the_last_opinion_of_an_answer_counts(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    writer.finish(turn)
    said: tuple[Opinion | None, ...] = ("up", "down", "down", None, None, "up")
    for opinion in said:
        assert only(SaveFeedback(session.uuid, turn.id, opinion)) is True
        assert opinions([turn.id, turn.question_id]) == ({turn.id: opinion} if opinion else {})
    both = [SaveFeedback(session.uuid, turn.id, "up"), SaveFeedback(session.uuid, turn.id, "down")]
    assert commit(both) == [True, True]
    assert opinions([turn.id]) == {turn.id: "down"}


def test_there_is_an_opinion_of_answers_of_the_session_only(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    assert only(SaveFeedback(session.uuid, turn.id, "up")) is False, "it is not there yet"
    writer.finish(turn)
    other = writer.ask(new_session(writer.pipeline))
    assert only(SaveFeedback(other.session.uuid, turn.id, "up")) is False
    assert only(SaveFeedback(session.uuid, turn.question_id, "up")) is False
    assert only(SaveFeedback(uuid4(), turn.id, "up")) is False
    assert opinions([turn.id, turn.question_id]) == {}


# --- Together ----------------------------------------------------------------------------------


def test_a_batch_of_every_kind_is_applied_in_its_order(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session)
    accept = Accept(question(session, "next"), writer.pipeline.pk, writer.uuid)
    finish = Finish(turn, writer.uuid, "An answer.", Outcome.ANSWERED)
    begin = Begin(turn, writer.uuid)
    results = commit(sorted([finish, begin, accept], key=lambda job: job.rank))
    assert [type(result) for result in results] == [Accepted, type(None), Finished]
    assert results[0].turn is None
    assert results[2].next_turn.question == "next"
    assert state(turn).begun_at is not None
    assert ChatSession.objects.get(uuid=session.uuid).open_turns == 1


@dataclass(frozen=True)
class Tries(Job):
    """Counts the transactions that its batch took."""

    rank = 1
    counted: list[int] = field(default_factory=list)

    @classmethod
    def apply(cls, jobs: Sequence["Tries"]) -> Sequence[None]:
        jobs[0].counted.append(1)
        return [None] * len(jobs)


@postgres_only
def test_batches_that_want_each_other_s_sessions_do_not_deadlock(pipeline: Pipeline, database: Database) -> None:
    first, second = Writer(pipeline), Writer(pipeline)
    halls = [room_key(pipeline.uuid, name) for name in ("one", "two")]
    ended = [first.ask(halls[0]), second.ask(halls[1])]
    begun = [first.ask(new_session(pipeline)), second.ask(new_session(pipeline))]
    tries = Tries()

    def batch(one: Writer, number: int) -> list[Any]:
        # Locked kind after kind, each would hold the session that it speaks in and want the one that it ends.
        speaks = Accept(question(halls[1 - number]), pipeline.pk, one.uuid)
        ends = Finish(ended[number], one.uuid, "An answer.", Outcome.ANSWERED)
        return commit([tries, speaks, Begin(begun[number], one.uuid), ends])

    with ThreadPoolExecutor(1) as thread, database.connect() as other, database.connect() as watching:
        with other.transaction():
            turns = [turn.id for turn in begun]
            other.execute("SELECT 1 FROM conversations_turn WHERE id = ANY(%s) FOR UPDATE", (turns,))
            both = thread.submit(
                at_once,
                *(lambda one=one, number=number: batch(one, number) for number, one in enumerate((first, second))),
            )
            wait_until(lambda: lock_waiters(watching) == 2, timeout=10, what="both batches")
        results = both.result(10)
    assert [[type(result) for result in batch[1:]] for batch in results] == [[Accepted, type(None), Finished]] * 2
    assert len(tries.counted) == 2


@postgres_only
def test_workers_that_make_the_same_rooms_at_once_do_not_deadlock(pipeline: Pipeline) -> None:
    keys = [room_key(pipeline.uuid, str(number)) for number in range(60)]
    tries = Tries()

    def ask(one: Writer, number: int) -> list[Any]:
        asked = [Accept(question(key), pipeline.pk, one.uuid) for key in keys[number * 10 :] + keys[: number * 10]]
        return commit([tries, *asked])[1:]

    writers = [Writer(pipeline) for _ in range(4)]
    results = at_once(*(lambda one=one, number=number: ask(one, number) for number, one in enumerate(writers)))
    assert sorted(accepted.message.seq for batch in results for accepted in batch) == sorted([1, 2, 3, 4] * len(keys))
    assert len(tries.counted) == len(writers)


def test_the_kinds_of_a_conversation_stand_together() -> None:
    # Another kind's rank between theirs would part them, and each part would lock for itself.
    ranks = [kind.rank for kind in ConversationJob.__subclasses__()]
    others = [kind.rank for kind in Job.__subclasses__() if kind is not ConversationJob and hasattr(kind, "rank")]
    assert not [rank for rank in others if min(ranks) <= rank <= max(ranks)]


def has_lock_waiter(other: Any) -> bool:
    """Tell whether a connection to this PostgreSQL database waits for another's transaction."""
    return lock_waiters(other) > 0


def lock_waiters(other: Any) -> int:
    """Return how many connections to this PostgreSQL database wait for another's transaction."""
    found = other.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    count: int = found.fetchone()[0]
    return count


# --- Asked again -------------------------------------------------------------------------------


def test_one_that_failed_may_be_asked_again_where_the_asker_says_so(writer: Writer, session: SessionKey) -> None:
    first = writer.ask(session, client_msg_id="one", retry_failed=True)
    joined = writer.accept(question(session, client_msg_id="one", retry_failed=True))
    assert (joined.duplicate, joined.answer_id, joined.answer) == (True, first.id, None)
    writer.finish(first, outcome=Outcome.FAILED)
    kept = writer.accept(question(session, client_msg_id="one"))
    assert kept.duplicate
    again = writer.ask(session, client_msg_id="one", retry_failed=True)
    assert again.id != first.id
    writer.finish(again)
    answered = writer.accept(question(session, client_msg_id="one", retry_failed=True))
    assert answered.answer is not None
    assert (answered.answer.id, answered.answer.outcome) == (again.id, Outcome.ANSWERED)


def test_an_answer_says_what_it_answers(writer: Writer, session: SessionKey) -> None:
    turn = writer.ask(session, client_msg_id="one")
    finished = writer.finish(turn)
    stored = messages_after(session.uuid, 0, 10)
    assert stored[1] == finished.message
    assert (stored[1].question_id, stored[1].request_id, stored[1].outcome) == (stored[0].id, "one", Outcome.ANSWERED)
    assert (stored[0].question_id, stored[0].request_id, stored[0].outcome) == (None, "one", None)
