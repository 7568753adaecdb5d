"""Every read of what was said: right rows, right order, within its bound."""

import random
import re
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations import selectors, services
from conversations.jobs import Accept, Finish, Reset
from conversations.models import ChatSession, Message, Pipeline, Route
from conversations.responders.base import PastMessage
from conversations.selectors import MEMORY_MESSAGES, PAGE_CHARACTERS, PAGE_MESSAGES, REPLAY_LIMIT, Replay, SessionState
from conversations.store import commit
from conversations.types import Citation, Outcome, Role, Sender, SessionKey, StoredMessage, room_key
from tests.conversations.conftest import Database
from tests.conversations.doubles import new_session, question, texts

WORKER = uuid4()


class Speaker:
    """Says things in the sessions of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def say(self, session: SessionKey, *said: str, **fields: Any) -> list[StoredMessage]:
        """Store messages that want no answer, in one batch."""
        asked = [question(session, text, wants_answer=False, **fields) for text in said]
        accepted = commit([Accept(one, self.pipeline.pk, WORKER) for one in asked])
        return [one.message for one in accepted]

    def ask(self, session: SessionKey, text: str, answer: str, citations: tuple[Citation, ...] = ()) -> StoredMessage:
        """Store a question and its answer; return the answer."""
        (accepted,) = commit([Accept(question(session, text), self.pipeline.pk, WORKER)])
        (finished,) = commit([Finish(accepted.turn, WORKER, answer, Outcome.ANSWERED, citations)])
        message: StoredMessage = finished.message
        return message

    def reset(self, session: SessionKey) -> None:
        commit([Reset(self.pipeline.pk, session.session_type, session.uuid)])


@pytest.fixture
def speaker(pipeline: Pipeline) -> Speaker:
    return Speaker(pipeline)


@pytest.fixture
def session(pipeline: Pipeline) -> SessionKey:
    return new_session(pipeline)


def seqs(messages: Sequence[StoredMessage]) -> list[int]:
    return [message.seq for message in messages]


# --- Pipelines and sessions --------------------------------------------------------------------


def test_a_pipeline_has_its_enabled_routes_in_their_order(pipeline: Pipeline) -> None:
    Route.objects.create(pipeline=pipeline, position=2, kind="knowledge")
    Route.objects.create(pipeline=pipeline, position=1, kind="openai", enabled=False)
    Route.objects.create(pipeline=pipeline, position=1, kind="openai", model="small", recall=False)
    found = selectors.pipeline_configs()[pipeline.uuid]
    assert [(route.kind, route.model, route.recall) for route in found.routes] == [
        ("openai", "small", False), ("knowledge", "", True),
    ]  # fmt: skip


@pytest.mark.parametrize("group_reply", ["mentioned", "always"])
def test_a_pipeline_is_told_as_it_is_configured(database: Database, group_reply: str) -> None:
    row = Pipeline.objects.create(
        name="N", description="D", failure_text="F", group_reply=group_reply, group_prefix="bot", public=True
    )
    found = selectors.pipeline_configs()[row.uuid]
    assert (found.id, found.name, found.description, found.failure_text) == (row.pk, "N", "D", "F")
    assert (found.group_reply, found.group_prefix, found.public, found.is_default) == (group_reply, "bot", True, False)


def test_a_session_exists_from_its_first_message_on(speaker: Speaker, pipeline: Pipeline) -> None:
    key = room_key(pipeline.uuid, "hall")
    assert selectors.session_state(key.uuid) is None
    application = uuid4()
    speaker.say(key, "one", "two", application=application)
    assert selectors.session_state(key.uuid) == SessionState(key, 2, application, "langbot")


# --- Messages ----------------------------------------------------------------------------------


def test_a_message_is_read_as_it_was_told(speaker: Speaker, session: SessionKey) -> None:
    (asked,) = speaker.say(session, "问题", connection_id="c1", components='[{"text":"问题"}]')
    answer = speaker.ask(session, "next", "答案", (Citation("d", "s", "t", "u", 1.5),))
    assert selectors.messages_after(session.uuid, 0, 10)[::2] == [asked, answer]
    assert answer.timestamp.tzinfo is UTC


def test_an_operators_words_carry_his_name(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, "hello")
    row = ChatSession.objects.get(uuid=session.uuid)
    Message.objects.create(
        session=row, seq=2, role=Message.Role.OPERATOR, text="I help", sender_name="Ann", created_at=timezone.now()
    )
    (message,) = selectors.messages_after(session.uuid, 1, 10)
    assert (message.role, message.sender) == (Role.OPERATOR, Sender("operator", "Ann"))


def test_messages_after_are_in_order_bounded_and_of_every_epoch(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, "1", "2")
    speaker.reset(session)
    speaker.say(session, "3", "4")
    assert seqs(selectors.messages_after(session.uuid, 1, 2)) == [2, 3]
    assert selectors.messages_after(session.uuid, 4, 2) == []
    assert selectors.messages_after(uuid4(), 0, 2) == []


# --- Replay ------------------------------------------------------------------------------------


def test_a_replay_is_what_came_after_over_resets_too(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, "1", "2")
    speaker.reset(session)
    speaker.ask(session, "3", "4")
    assert selectors.replay(session.uuid, 1) == Replay(4, complete=True)
    assert seqs(selectors.replay_page(session.uuid, 1, 4)) == [2, 3, 4]
    assert seqs(selectors.replay_page(session.uuid, 1, 3)) == [2, 3]
    assert selectors.replay(session.uuid, 4) == Replay(4, complete=True)
    assert selectors.replay_page(session.uuid, 4, 4) == []


def test_a_page_of_a_replay_is_bounded_in_messages_and_in_characters(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, *(str(number) for number in range(PAGE_MESSAGES + 1)))
    assert len(selectors.replay_page(session.uuid, 0, PAGE_MESSAGES + 1)) == PAGE_MESSAGES
    last = PAGE_MESSAGES + 1
    speaker.say(session, "长" * PAGE_CHARACTERS, "short", "x" * (PAGE_CHARACTERS - 5), "next")
    assert seqs(selectors.replay_page(session.uuid, last, last + 4)) == [last + 1]
    assert seqs(selectors.replay_page(session.uuid, last + 1, last + 4)) == [last + 2, last + 3]


def test_the_newest_answers_that_have_so_many_characters_at_most(speaker: Speaker, session: SessionKey) -> None:
    for answer in ("four", "长长长长长", "three"):
        speaker.ask(session, "a question that is not counted", answer)  # answers are 2, 4 and 6
    for characters, newest in ((4, 7), (5, 6), (9, 6), (10, 4), (13, 4), (14, 2), (1000, 2)):
        assert selectors.newest_within(session.uuid, 0, 6, characters) == newest, characters
    assert selectors.newest_within(session.uuid, 2, 6, 1000) == 4
    assert selectors.newest_within(session.uuid, 0, 5, 5) == 4
    assert selectors.newest_within(uuid4(), 0, 5, 5) == 6


def test_a_replay_is_whole_or_not_at_all(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, *(str(number) for number in range(REPLAY_LIMIT + 1)))
    assert selectors.replay(session.uuid, 0) == Replay(REPLAY_LIMIT + 1, complete=False)
    assert selectors.replay(session.uuid, 1) == Replay(REPLAY_LIMIT + 1, complete=True)


def test_a_replay_after_what_was_never_said_is_incomplete(speaker: Speaker, session: SessionKey) -> None:
    assert selectors.replay(session.uuid, 0) == Replay(0, complete=True)
    assert selectors.replay(session.uuid, 1) == Replay(0, complete=False, ahead=True)
    speaker.say(session, "1")
    assert selectors.replay(session.uuid, 2) == Replay(1, complete=False, ahead=True)


# --- History -----------------------------------------------------------------------------------


def test_a_history_is_the_newest_of_the_present_epoch_oldest_first(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, "1", "2")
    speaker.reset(session)
    assert selectors.session_history(session, after_seq=None, limit=10) == []
    speaker.say(session, "3", "4", "5")
    assert seqs(selectors.session_history(session, after_seq=None, limit=10)) == [3, 4, 5]
    assert seqs(selectors.session_history(session, after_seq=None, limit=2)) == [4, 5]
    assert seqs(selectors.session_history(session, after_seq=3, limit=10)) == [4, 5]
    assert seqs(selectors.session_history(session, after_seq=3, limit=1)) == [5]
    assert seqs(selectors.session_history(session, before_seq=5, limit=1)) == [4]
    assert seqs(selectors.session_history(session, after_seq=3, before_seq=5, limit=10)) == [4]


def test_a_pipelines_history_is_over_its_sessions_of_that_type(speaker: Speaker, pipeline: Pipeline) -> None:
    first, second = new_session(pipeline), new_session(pipeline)
    speaker.say(room_key(pipeline.uuid, "hall"), "group")
    foreign = Pipeline.objects.create(name="Other")
    Speaker(foreign).say(new_session(foreign), "foreign")
    speaker.say(first, "old")
    speaker.reset(first)
    for number in range(3):
        speaker.say(first, f"first {number}")
        speaker.say(second, f"second {number}")
    said = [f"{name} {number}" for number in range(3) for name in ("first", "second")]
    assert texts(selectors.pipeline_history(pipeline.uuid, "person", limit=100)) == said
    assert texts(selectors.pipeline_history(pipeline.uuid, "person", limit=3)) == said[-3:]
    assert texts(selectors.pipeline_history(pipeline.uuid, "group", limit=3)) == ["group"]


def test_a_pipelines_history_keeps_each_sessions_order(speaker: Speaker, pipeline: Pipeline) -> None:
    # A clock that went back: the order is that of `seq`, not that of times.
    session = new_session(pipeline)
    one, two, three = speaker.say(session, "one", "two", "three")
    Message.objects.filter(pk=three.id).update(created_at=one.timestamp - timedelta(hours=1))
    Message.objects.filter(pk=one.id).update(created_at=two.timestamp + timedelta(hours=1))
    found = selectors.pipeline_history(pipeline.uuid, "person", limit=10)
    assert texts(found) == ["one", "two", "three"]


def test_a_pipelines_history_reads_little_more_than_it_tells(speaker: Speaker, pipeline: Pipeline) -> None:
    sessions = [new_session(pipeline) for _ in range(20)]
    for number in range(20):
        for session in sessions:
            speaker.say(session, str(number))
    for number in range(60):  # most of the newest are of one session
        speaker.say(sessions[0], f"more {number}")
    with CaptureQueriesContext(connection) as queries:
        found = selectors.pipeline_history(pipeline.uuid, "person", limit=70)
    assert texts(found) == ["19"] * 10 + [f"more {number}" for number in range(60)]
    told = [query["sql"] for query in queries.captured_queries]
    assert sum(rows_read(sql) for sql in told) <= 4 * 70
    assert len(told) == 5


@pytest.mark.parametrize("limit", [1, 2, 7, 30, 100])
def test_a_pipelines_history_is_the_same_however_it_is_spread(speaker: Speaker, pipeline: Pipeline, limit: int) -> None:
    chance = random.Random(limit)
    sessions = [new_session(pipeline) for _ in range(6)]
    said: list[StoredMessage] = []
    for number in range(80):
        session = sessions[min(int(chance.expovariate(0.8)), 5)]
        if chance.random() < 0.05:
            speaker.reset(session)
            said = [message for message in said if message.session != session.uuid]
        said += speaker.say(session, str(number))
    assert selectors.pipeline_history(pipeline.uuid, "person", limit=limit) == said[-limit:]


def test_a_pipelines_history_goes_by_indexes(speaker: Speaker, pipeline: Pipeline) -> None:
    with transaction.atomic():
        fill(pipeline, sessions=500, messages=30)
        with CaptureQueriesContext(connection) as queries:
            assert len(selectors.pipeline_history(pipeline.uuid, "person", limit=100)) == 100
        _, sessions, messages, *_ = (plan(query["sql"]) for query in queries.captured_queries)
        transaction.set_rollback(True)
    assert re.search("session_(recent|latest)", sessions)
    assert "Sort" not in sessions
    assert "TEMP B-TREE" not in sessions
    assert re.search(r"\(session_id=\? AND seq>\?\)|Index Cond: [^\n]*seq > ", messages)


def fill(pipeline: Pipeline, *, sessions: int, messages: int) -> None:
    """Store so many sessions with so many messages each, and let the database look at them."""
    now = timezone.now()
    made = ChatSession.objects.bulk_create(
        ChatSession(uuid=uuid4(), pipeline=pipeline, session_type="person", last_seq=messages + number, created_at=now,
                    last_message_at=now + timedelta(seconds=number))
        for number in range(sessions)
    )  # fmt: skip
    Message.objects.bulk_create(
        (
            Message(session=one, seq=one.last_seq - number, role="user", created_at=now)
            for one in made
            for number in range(messages)
        ),
        batch_size=5000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def rows_read(sql: str) -> int:
    """Return how many rows a statement gives."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return len(cursor.fetchall())


def plan(sql: str) -> str:
    """Return how the database answers a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN' if connection.vendor == 'sqlite' else ''} {sql}")
        return "\n".join(str(row) for row in cursor.fetchall())


# --- Documents ---------------------------------------------------------------------------------


def test_documents_are_listed_without_their_text_from_a_place_on(pipeline: Pipeline) -> None:
    uuids = sorted(services.save_document(pipeline.uuid, title=title, text="Text.") for title in "abc")
    services.save_document(Pipeline.objects.create(name="Other").uuid, title="foreign", text="Text.")
    first = selectors.documents(pipeline.uuid, after=None, limit=2)
    assert ([one.uuid for one in first], {one.text for one in first}) == (uuids[:2], {None})
    assert [one.uuid for one in selectors.documents(pipeline.uuid, after=uuids[1], limit=2)] == uuids[2:]


def test_a_document_is_found_in_its_own_pipeline_only(pipeline: Pipeline) -> None:
    uuid = services.save_document(pipeline.uuid, title="标题", text="Text.", space="faq", url="https://a.test/")
    found = selectors.document(pipeline.uuid, uuid)
    assert found is not None
    assert (found.title, found.space, found.url, found.text) == ("标题", "faq", "https://a.test/", "Text.")
    assert found.created_at.tzinfo is UTC
    assert selectors.document(uuid4(), uuid) is None


# --- What a model is reminded of; who runs turns -----------------------------------------------


def test_a_model_is_reminded_of_its_epoch_before_the_question(speaker: Speaker, session: SessionKey) -> None:
    speaker.ask(session, "forgotten", "too")
    speaker.reset(session)
    speaker.ask(session, "who?", "me")
    speaker.say(session, "now", "later")
    row = ChatSession.objects.get(uuid=session.uuid)
    past = selectors.past_messages(row.pk, row.epoch, before_seq=5)
    assert past == [PastMessage(Role.USER, "who?"), PastMessage(Role.ASSISTANT, "me")]


def test_a_model_is_reminded_of_the_newest_only(speaker: Speaker, session: SessionKey) -> None:
    speaker.say(session, *(str(number) for number in range(MEMORY_MESSAGES + 5)))
    row = ChatSession.objects.get(uuid=session.uuid)
    past = selectors.past_messages(row.pk, row.epoch, before_seq=row.last_seq)
    assert [message.text for message in past] == [str(number) for number in range(4, MEMORY_MESSAGES + 4)]


def test_workers_are_named_while_they_run_turns(pipeline: Pipeline) -> None:
    busy, done = uuid4(), uuid4()
    keys = [new_session(pipeline) for _ in range(2)]
    accepted = commit(
        [Accept(question(key), pipeline.pk, worker) for key, worker in zip(keys, (busy, done), strict=True)]
    )
    commit([Finish(accepted[1].turn, done, "An answer.", Outcome.ANSWERED)])
    found = selectors.workers_with_turns()
    assert busy in found
    assert done not in found
