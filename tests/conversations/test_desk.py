"""The desk: who waits and since when, what the queue shows, and what operators write beside a conversation."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from conversations import contacts, desk, services, signals
from conversations.desk import Which
from conversations.jobs import Accept, HeldByAnother, Release
from conversations.models import CannedReply, ChatSession, Message, Note, OutboxEntry, Pipeline
from conversations.store import Job, Refused, commit
from conversations.transcript import read_transcript
from conversations.types import SessionKey
from tests.conversations.doubles import Echo, new_session, question
from tests.conversations.houses import OpenHouse

AN_HOUR = 3600.0
QUERIES = 4  # of a queue, at most


class Office:
    """A pipeline's conversations, and two operators."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.ann, self.bob = (User.objects.create_user(f"{name}-{uuid4()}").pk for name in ("ann", "bob"))

    def write(self, text: str = "Hello", session: SessionKey | None = None, **fields: Any) -> SessionKey:
        """Have a visitor say something that nobody answers."""
        session = session or new_session(self.pipeline)
        wants_person = bool(fields.pop("wants_person", False))
        asked = question(session, text, wants_answer=False, **fields)
        self.commit(Accept(asked, self.pipeline.pk, uuid4(), wants_person))
        return session

    def take_over(self, session: SessionKey, seconds: float = AN_HOUR) -> None:
        services.take_over(session.uuid, self.ann, "Ann", seconds=seconds)

    def say(self, session: SessionKey, text: str = "I am here.") -> None:
        services.reply_as_owner(session.uuid, text, name="Ann", operator=self.ann, seconds=AN_HOUR)

    def waits(self, session: SessionKey) -> bool:
        return self.row(session).waiting_since is not None

    def row(self, session: SessionKey) -> ChatSession:
        return ChatSession.objects.get(uuid=session.uuid)

    def queue(self, which: Which = "open", **options: Any) -> list[UUID]:
        """Return the sessions of this pipeline in a queue of Ann's."""
        ours = set(ChatSession.objects.filter(pipeline=self.pipeline).values_list("uuid", flat=True))
        return [
            found.uuid for found in desk.queue(which, self.ann, **{"limit": 10_000, **options}) if found.uuid in ours
        ]

    def opened(self, session: SessionKey) -> desk.Opened:
        """Return a conversation as Ann reads it."""
        opened = desk.open_conversation(session.uuid, self.ann)
        assert opened is not None
        return opened

    def commit(self, job: Job) -> Any:
        (result,) = commit([job])
        assert not isinstance(result, Exception), result
        return result


@pytest.fixture
def office(pipeline: Pipeline) -> Office:
    return Office(pipeline)


# --- Who waits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("called", [{"wants_person": True}, {"contact": uuid4()}])
def test_who_calls_for_a_person_waits_until_one_replies(office: Office, called: dict[str, Any]) -> None:
    session = office.write(**called)
    since = office.row(session).waiting_since
    office.write("Anybody?", session, wants_person=True)
    assert office.row(session).waiting_since == since is not None
    office.take_over(session)
    assert office.waits(session)
    office.say(session)
    assert not office.waits(session)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"text": "我要转人工"}, True),
        ({"text": "@bot 人工", "prompt": "人工"}, True),  # which the whole of the text is not
        ({"text": "Where is the manual?"}, False),
        ({"text": "I want to talk to a human", "wants_answer": False}, False),  # to others in the room
    ],
)
async def test_who_asks_the_bot_for_a_person_on_any_wire_waits(
    open_house: OpenHouse, said: dict[str, Any], wanted: bool
) -> None:
    house = await open_house(openai=Echo())
    session = new_session(house.pipeline)
    await house.ask(session, **said)
    row = await house.store.read(ChatSession.objects.get, uuid=session.uuid)
    assert (row.waiting_since is not None) is wanted


def test_an_ordinary_message_waits_for_nobody_and_costs_no_statement_more(office: Office) -> None:
    session = office.write()
    assert not office.waits(session)
    with CaptureQueriesContext(connection) as ordinary:
        office.write("More", session)
    with CaptureQueriesContext(connection) as calling:
        office.write("A person, please", session, wants_person=True)
    assert len(calling) == len(ordinary) + 1


def test_whatever_is_said_to_who_holds_it_waits_for_him(office: Office) -> None:
    session = office.write()
    office.take_over(session)
    assert not office.waits(session)
    office.write("Are you there?", session)
    assert office.waits(session)


def test_who_waits_for_a_person_does_so_after_a_hand_back_too(office: Office) -> None:
    explicit, idle, answered = (office.write(wants_person=True) for _ in range(3))
    office.take_over(explicit)
    services.hand_back(explicit.uuid, office.ann)
    office.take_over(idle)
    office.commit(Release(idle.uuid, untouched=office.row(idle).held_until))
    office.take_over(answered)
    office.say(answered)
    services.hand_back(answered.uuid, office.ann)
    assert [office.waits(session) for session in (explicit, idle, answered)] == [True, True, False]
    assert not office.row(idle).held_by


def test_who_was_promised_an_answer_waits_for_the_person_who_took_over(office: Office) -> None:
    session = new_session(office.pipeline)
    office.commit(Accept(question(session), office.pipeline.pk, uuid4()))
    assert not office.waits(session)
    office.take_over(session)
    assert office.waits(session)


@pytest.mark.parametrize("settle", [services.close_requests, services.mark_requests_replied])
def test_whose_requests_are_settled_waits_no_more(office: Office, settle: Any, changes: list[object]) -> None:
    first, second, session = uuid4(), uuid4(), office.write()
    for contact in (first, second):
        office.write("Call me", session, contact=contact)
    assert settle([first]) == 1
    assert office.waits(session)
    assert settle([first, second]) == 1
    assert not office.waits(session)
    assert len(changes) == 2


def test_who_takes_over_again_has_it_longer(office: Office) -> None:
    session = office.write()
    office.take_over(session, seconds=10)
    office.take_over(session)
    until = office.row(session).held_until
    assert until is not None
    assert until > timezone.now() + timedelta(seconds=AN_HOUR / 2)


def test_the_answer_is_asked_to_end_before_the_notice_is_told(office: Office) -> None:
    session, told = new_session(office.pipeline), []

    def hear(event: object, **_signal: Any) -> None:
        told.append(type(event).__name__)

    office.commit(Accept(question(session), office.pipeline.pk, uuid4()))
    signals.said.connect(hear)
    try:
        office.take_over(session)
    finally:
        signals.said.disconnect(hear)
    assert told == ["StopRequested", "MessageStored"]


def test_who_said_more_since_his_request_waits_still(office: Office) -> None:
    contact, session = uuid4(), office.write()
    office.write("Call me", session, contact=contact)
    office.take_over(session)
    office.write("Are you there?", session)
    services.hand_back(session.uuid, office.ann)
    assert services.close_requests([contact]) == 1
    assert office.waits(session)


def test_a_conversation_can_be_taken_from_who_is_away(office: Office) -> None:
    session = office.write()
    office.take_over(session)
    with pytest.raises(HeldByAnother, match="Ann has this conversation"):
        services.take_over(session.uuid, office.bob, "Bob", seconds=AN_HOUR)
    services.take_over(session.uuid, office.bob, "Bob", seconds=AN_HOUR, over=True)
    assert (office.row(session).held_by, office.row(session).holder_id) == ("Bob", office.bob)
    with pytest.raises(HeldByAnother, match="Bob has this conversation"):
        office.say(session)


def test_a_conversation_of_somebody_who_is_gone_is_anybodys(office: Office) -> None:
    session, gone = office.write(), User.objects.create_user(f"gone-{uuid4()}")
    services.take_over(session.uuid, gone.pk, "Gone", seconds=AN_HOUR)
    gone.delete()
    office.take_over(session)
    assert office.row(session).held_by == "Ann"


def test_a_reply_that_is_sent_again_is_the_same(office: Office) -> None:
    session, ours = office.write(), uuid4()
    said = [
        services.reply_as_owner(session.uuid, "I am here.", name="Ann", operator=office.ann, uuid=name)
        for name in (ours, uuid4(), ours)
    ]
    assert said[0] == said[2]
    assert said[1].seq == said[0].seq + 1
    for _ in range(2):
        services.add_note(session.uuid, "Ann", "Remember him.", uuid=ours)
    assert Note.objects.filter(session__uuid=session.uuid).count() == 1


def test_what_is_done_is_out_of_the_queue_until_more_is_said(office: Office, changes: list[object]) -> None:
    session = office.write(wants_person=True)
    office.take_over(session)
    last = office.row(session).last_seq
    services.mark_done(session.uuid, office.ann)
    row = office.row(session)
    assert (row.held_by, row.waiting_since, row.last_seq) == ("", None, last + 1)
    assert Message.objects.get(session=row, seq=row.last_seq).role == Message.Role.NOTICE
    assert len(changes) == 1
    assert (office.queue("open"), office.queue("done")) == ([], [session.uuid])
    office.write("One more thing", session)
    assert (office.queue("open"), office.queue("done")) == ([session.uuid], [])


def test_what_nobody_holds_is_done_without_a_word(office: Office) -> None:
    session = office.write()
    before = office.row(session)
    services.mark_done(session.uuid, office.bob)
    row = office.row(session)
    assert row.done_at is not None
    assert (row.last_seq, row.last_message_at) == (before.last_seq, before.last_message_at)


def test_what_somebody_else_holds_is_not_marked_done(office: Office, changes: list[object]) -> None:
    session = office.write()
    office.take_over(session)
    with pytest.raises(HeldByAnother, match="Ann has this conversation"):
        services.mark_done(session.uuid, office.bob)
    with pytest.raises(Refused, match="no such session"):
        services.mark_done(uuid4(), office.bob)
    assert office.row(session).done_at is None
    assert changes == []


# --- The queue ---------------------------------------------------------------------------------


def test_who_waits_is_first_then_what_is_held_then_the_newest(office: Office) -> None:
    old, waiting_short, waiting_long, held, done = (office.write(str(number)) for number in range(5))
    office.write("A person!", waiting_long, wants_person=True)
    office.write("A person!", waiting_short, wants_person=True)
    office.take_over(held)
    new = office.write()
    services.mark_done(done.uuid, office.ann)
    ordered = [waiting_long, waiting_short, held, new, old]
    assert office.queue("open") == [session.uuid for session in ordered]
    assert office.queue("waiting") == [waiting_long.uuid, waiting_short.uuid]
    assert office.queue("mine") == [held.uuid]
    assert office.queue("done") == [done.uuid]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_no_more_than_the_limit_is_shown(office: Office, limit: int) -> None:
    office.write(wants_person=True)
    office.take_over(office.write())
    office.write()
    office.write()
    assert len(desk.queue("open", office.ann, limit=limit)) == limit


def test_a_row_tells_what_an_operator_needs(office: Office) -> None:
    session = office.write("你好")
    contact, closed = uuid4(), uuid4()
    office.write("Call me", session, contact=contact)
    office.write("Never mind", session, contact=closed)
    contacts.close([closed])
    office.take_over(session)
    office.say(session, f"So  it\nis {'x' * 300}")
    (row,) = [found for found in desk.queue("mine", office.ann) if found.uuid == session.uuid]
    assert (row.wire, row.session_type, row.pipeline, row.language) == ("langbot", "person", "Shop", "zh-hans")
    assert (row.held_by, row.is_mine, row.request_state) == ("Ann", True, "received")
    assert (len(row.last_words), row.last_role) == (desk.EXCERPT, "operator")
    assert row.last_words.startswith("So it is x")
    assert office.opened(session).conversation == row
    other = desk.open_conversation(session.uuid, office.bob)
    assert other is not None
    assert not other.conversation.is_mine
    assert desk.open_conversation(uuid4(), office.ann) is None


def test_words_are_found_in_names_and_in_what_was_said(office: Office) -> None:
    word = f"order {uuid4().hex}"
    said, other = office.write(f"Where is my {word}?"), office.write("Hello")
    ChatSession.objects.filter(uuid=other.uuid).update(name=f"room {word}")
    office.write("Hello")
    with CaptureQueriesContext(connection) as captured:
        desk.queue("open", office.ann, words=word)
    assert len(captured) <= QUERIES
    assert set(office.queue(words=f" {word.upper()} ")) == {said.uuid, other.uuid}
    assert office.queue(words=str(other.uuid)) == [other.uuid]
    assert office.queue(words=f"Visitor {str(other.uuid)[:8]}") == [other.uuid]
    assert office.queue(words=uuid4().hex[:20]) == []


def test_each_part_of_the_queue_is_counted(office: Office) -> None:
    before = desk.counts(office.ann)
    office.write(wants_person=True)
    office.take_over(office.write())
    services.mark_done(office.write().uuid, office.ann)
    after = desk.counts(office.ann)
    assert (after.waiting - before.waiting, after.mine - before.mine) == (1, 1)


# --- Beside a conversation ---------------------------------------------------------------------


def test_notes_stand_among_the_messages_by_their_time(office: Office, changes: list[object]) -> None:
    session = office.write("First")
    services.add_note(session.uuid, "Ann", "Remember him.")
    office.write("Second", session)
    services.add_note(session.uuid, "Bob" * 100, "So do I.")
    shown = office.opened(session).transcript
    assert [(line.role, line.text) for line in shown.lines] == [
        ("user", "First"), ("note", "Remember him."), ("user", "Second"), ("note", "So do I."),
    ]  # fmt: skip
    assert (shown.lines[1].sender, shown.lines[1].seq, len(shown.lines[3].sender)) == ("Ann", None, 100)
    assert len(changes) == 2
    with pytest.raises(Refused, match="no such session"):
        services.add_note(uuid4(), "Ann", "Nobody")


def test_each_note_is_on_one_page(office: Office) -> None:
    session = office.write("0")
    for number in range(1, 11):
        office.write(str(number), session)
    row = office.row(session)
    for message in Message.objects.filter(session=row).order_by("seq"):
        Note.objects.create(session=row, author="Ann", text=message.text, created_at=message.created_at)
    pages = [read_transcript(row, page=4, with_notes=True)]
    while (before := pages[-1].older) is not None:
        pages.append(read_transcript(row, before, page=4, with_notes=True))
    notes = [[line.text for line in page.lines if line.role == "note"] for page in pages]
    assert notes == [["7", "8", "9", "10"], ["3", "4", "5", "6"], ["0", "1", "2"]]


def test_an_unfinished_answer_has_its_turn(office: Office) -> None:
    session = new_session(office.pipeline)
    accepted = office.commit(Accept(question(session), office.pipeline.pk, uuid4()))
    shown = office.opened(session).transcript
    assert [line.turn for line in shown.lines] == [None, accepted.turn.id]


def test_requests_tell_how_their_owner_was_told(office: Office) -> None:
    contact = uuid4()
    session = office.write("Call me", contact=contact, escalated=True)
    (request,) = desk.requests(session.uuid)
    assert (request.uuid, request.state, request.state_label, request.escalated) == (
        contact, "received", "Received", True,
    )  # fmt: skip
    assert [(delivery.kind, delivery.state) for delivery in request.deliveries] == [
        ("email", "waiting"), ("webhook", "waiting"),
    ]  # fmt: skip


@pytest.mark.parametrize(("state", "again"), [("waiting", True), ("failed", True), ("unwanted", True), ("sent", False)])
def test_a_delivery_that_waits_or_was_given_up_is_tried_again(
    office: Office, changes: list[object], state: str, again: bool
) -> None:
    session = office.write("Call me", contact=uuid4())
    entry = OutboxEntry.objects.filter(message__session__uuid=session.uuid).earliest("id")
    ended_at = None if state == "waiting" else timezone.now()
    error = "nobody is there" if state == "unwanted" else ""
    stored = "sent" if state == "unwanted" else state
    OutboxEntry.objects.filter(pk=entry.pk).update(
        state=stored, error=error, due_at=timezone.now() + timedelta(days=1), ended_at=ended_at
    )
    assert not services.retry_delivery(entry.pk, uuid4())
    assert services.retry_delivery(entry.pk, session.uuid) is again
    entry.refresh_from_db()
    assert (entry.state == "waiting" and entry.due_at <= timezone.now()) is again
    assert (entry.ended_at is None, len(changes)) == ((True, 1) if again else (False, 0))


def test_canned_replies_come_by_title(office: Office) -> None:
    title = uuid4().hex
    CannedReply.objects.create(title=f"{title} b", text="Bye.")
    CannedReply.objects.create(title=f"{title} a", text="Hello.")
    found = [(name.removeprefix(title), text) for name, text in desk.canned_replies() if name.startswith(title)]
    assert found == [(" a", "Hello."), (" b", "Bye.")]


# --- Many of them ------------------------------------------------------------------------------

SESSIONS = 5_000


@pytest.fixture
def crowd(office: Office) -> Iterator[None]:
    """Many sessions, a few of which wait, are held or done; taken back after the test."""
    now = timezone.now()
    with transaction.atomic():
        ChatSession.objects.bulk_create(
            ChatSession(
                uuid=uuid4(),
                pipeline=office.pipeline,
                session_type="person",
                wire="langbot",
                last_seq=1,
                created_at=now,
                last_message_at=now,
                waiting_since=now if number % 500 == 0 else None,
                held_until=now if number % 500 == 1 else None,
                holder_id=office.ann if number % 500 == 1 else None,
                done_at=now if number % 500 == 2 else None,
            )
            for number in range(SESSIONS)
        )
        if connection.vendor == "postgresql":
            connection.cursor().execute("ANALYZE conversations_chatsession")
        yield
        transaction.set_rollback(True)


@pytest.mark.usefixtures("crowd")
def test_a_long_queue_is_read_along_its_indexes(office: Office) -> None:
    for which in get_args(Which):
        with CaptureQueriesContext(connection) as captured:
            assert len(desk.queue(which, office.ann)) >= SESSIONS // 500
        assert not [plan for query in captured if WHOLE_TABLE.search(plan := explain(query["sql"]))]


# What EXPLAIN says where all sessions are read: on PostgreSQL, and on SQLite.
WHOLE_TABLE = re.compile(r"Seq Scan on conversations_chatsession|SCAN conversations_chatsession(?! USING)")


def explain(sql: str) -> str:
    """Return how the database goes about a query."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())
