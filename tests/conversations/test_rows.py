"""The hot statements write what the models read, on both databases."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.db import connections, transaction
from django.utils import timezone as clock

from conversations import rows
from conversations.models import ChatSession, Message, Pipeline
from tests.conversations.conftest import Database
from tests.support.server import Templates

FIELDS = ("uuid", "pipeline", "session_type", "name", "wire", "language", "application", "epoch", "last_seq",
          "open_turns", "created_at", "last_message_at")  # fmt: skip


def session_row(pipeline: Pipeline, **changes: object) -> rows.Row:
    now = rows.adapt_time(clock.now())
    values = {
        "uuid": rows.adapt_uuid(uuid4()), "pipeline": pipeline.pk, "session_type": "group", "name": "客厅",
        "wire": "langbot", "language": "en", "application": None, "epoch": 1, "last_seq": 2, "open_turns": 3,
        "created_at": now, "last_message_at": now,
    }  # fmt: skip
    return tuple({**values, **changes}.values())


def insert_message(session: ChatSession, number: int, seq: int) -> None:
    fields = ("id", "session", "seq", "epoch", "role", "text", "components", "connection_id", "reply_to",
              "sender_name", "created_at")  # fmt: skip
    time = rows.adapt_time(clock.now())
    rows.insert(Message, fields, [(number, session.pk, seq, 0, "user", "好", '[{"a": [1, "é"]}]', "", "", "", time)])


def new_session(pipeline: Pipeline) -> ChatSession:
    rows.insert(ChatSession, FIELDS, [session_row(pipeline, uuid=rows.adapt_uuid(uuid := uuid4()))])
    return ChatSession.objects.get(uuid=uuid)


def test_the_model_reads_what_was_inserted(pipeline: Pipeline) -> None:
    uuid, application = uuid4(), uuid4()
    time = datetime(2026, 3, 1, 7, 30, 15, 123456, tzinfo=timezone(timedelta(hours=8)))
    row = session_row(
        pipeline, uuid=rows.adapt_uuid(uuid), application=rows.adapt_uuid(application), created_at=rows.adapt_time(time)
    )
    rows.insert(ChatSession, FIELDS, [row])
    session = ChatSession.objects.get(uuid=uuid)
    assert (session.pipeline, session.application, session.name) == (pipeline, application, "客厅")
    assert (session.epoch, session.last_seq, session.open_turns) == (1, 2, 3)
    assert session.created_at == time


def test_a_time_is_written_as_the_orm_writes_it(pipeline: Pipeline) -> None:
    whole = datetime(2026, 3, 1, 7, 30, tzinfo=UTC)
    session = new_session(pipeline)
    for time in (whole, whole + timedelta(microseconds=1)):
        rows.update(ChatSession, ("created_at",), [(rows.adapt_time(time), session.pk)], where=("id",))
        assert ChatSession.objects.filter(pk=session.pk, created_at=time).exists()


def test_nothing_stays_nothing(database: Database) -> None:
    assert rows.adapt_time(None) is None
    assert rows.adapt_uuid(None) is None
    rows.insert(ChatSession, FIELDS, [])
    rows.update(ChatSession, ("name",), [], where=("id",))
    assert list(rows.reserve_message_ids(0)) == []


def test_json_is_read_as_it_was_written(pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    with transaction.atomic():
        (number,) = rows.reserve_message_ids(1)
        insert_message(session, number, seq=1)
    assert Message.objects.get(pk=number).components == [{"a": [1, "é"]}]


def test_an_update_changes_only_the_rows_that_match_all_of_where(pipeline: Pipeline) -> None:
    first, second = new_session(pipeline), new_session(pipeline)
    rows.update(
        ChatSession,
        ("name", "epoch"),
        [("hall", 7, first.pk, 2), ("never", 8, second.pk, 999)],
        where=("id", "last_seq"),
    )
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.name, first.epoch) == ("hall", 7)
    assert (second.name, second.epoch) == ("客厅", 1)


def test_a_row_that_is_there_is_left_out_where_told(pipeline: Pipeline) -> None:
    uuid = uuid4()
    there = session_row(pipeline, uuid=rows.adapt_uuid(uuid), name="first")
    rows.insert(ChatSession, FIELDS, [there])
    rows.insert(ChatSession, FIELDS, [session_row(pipeline, uuid=rows.adapt_uuid(uuid), name="second")], ignore="uuid")
    assert ChatSession.objects.get(uuid=uuid).name == "first"


def test_reserved_ids_grow_and_are_given_once(pipeline: Pipeline) -> None:
    with transaction.atomic():
        first = list(rows.reserve_message_ids(3))
        second = list(rows.reserve_message_ids(2))
    assert first == sorted(first)
    assert second == sorted(second)
    assert second[0] > first[-1]
    assert len({*first, *second}) == 5


def test_the_orm_takes_an_id_above_those_reserved(pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    with transaction.atomic():
        reserved = list(rows.reserve_message_ids(3))
        insert_message(session, reserved[0], seq=1)
    made = Message.objects.create(session=session, seq=2, role="user", created_at=clock.now())
    assert made.pk > reserved[-1]
    with transaction.atomic():
        (after,) = rows.reserve_message_ids(1)
    assert after > made.pk


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_first_id_of_a_new_sqlite_file_is_one(database: Database, templates: Templates, tmp_path: Path) -> None:
    url = templates.copy_sqlite(tmp_path)
    with closing(sqlite3.connect(urlsplit(url).path)) as fresh:
        fresh.execute("DELETE FROM sqlite_sequence")
        fresh.commit()
    connections["default"].close()
    database.settings["NAME"] = urlsplit(url).path
    with transaction.atomic():
        assert list(rows.reserve_message_ids(2)) == [1, 2]
        assert list(rows.reserve_message_ids(1)) == [3]
