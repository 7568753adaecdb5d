"""Contact requests move forward only, and the owner's words take their place in the session."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from conversations import contacts, services, signals
from conversations.jobs import Accept, OperatorSays, SettleOutbox
from conversations.models import ContactRequest, Message, Pipeline
from conversations.store import Refused, commit
from conversations.types import MessageStored, Role, SessionKey
from tests.conversations.doubles import WatchedStore, new_session, question


def new_request(pipeline: Pipeline, session: SessionKey | None = None, **fields: Any) -> tuple[UUID, int]:
    """Store a contact request and return its UUID and its message's id."""
    uuid = uuid4()
    asked = question(session or new_session(pipeline), "请联系我", wants_answer=False, contact=uuid, **fields)
    (accepted,) = commit([Accept(asked, pipeline.pk, uuid4())])
    return uuid, accepted.message.id


def state_of(uuid: UUID) -> str:
    return ContactRequest.objects.get(uuid=uuid).state


def test_a_request_goes_from_received_to_closed(pipeline: Pipeline) -> None:
    uuid, message = new_request(pipeline)
    steps: list[tuple[Callable[[], int], str]] = [
        (lambda: contacts.mark_notified(message), "notified"),
        (lambda: contacts.mark_replied([uuid]), "replied"),
        (lambda: contacts.close([uuid]), "closed"),
    ]
    assert state_of(uuid) == "received"
    for step, state in steps:
        assert step() == 1
        assert state_of(uuid) == state
        assert step() == 0, "a second time it moves nothing"
    assert contacts.mark_notified(message) == contacts.mark_replied([uuid]) == 0
    row = ContactRequest.objects.get(uuid=uuid)
    assert row.notified_at is not None
    assert row.replied_at is not None
    assert row.closed_at is not None
    assert row.created_at <= row.notified_at <= row.replied_at <= row.closed_at


def test_the_owner_is_called_until_he_has_replied(pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    uuid, message = new_request(pipeline, session)
    other = new_request(pipeline)[1]
    here, there = (Message.objects.get(pk=each).session_id for each in (message, other))
    assert contacts.is_owner_called(here)
    contacts.mark_notified(message)
    assert contacts.is_owner_called(here)
    contacts.mark_replied([uuid])
    assert not contacts.is_owner_called(here)
    assert contacts.is_owner_called(there)


def test_a_notice_that_comes_after_the_reply_does_not_take_it_back(pipeline: Pipeline) -> None:
    uuid, message = new_request(pipeline)
    contacts.mark_replied([uuid])
    contacts.mark_notified(message)
    assert state_of(uuid) == "replied"


@pytest.mark.parametrize(("told", "state"), [(True, "notified"), (False, "received")])
def test_only_who_was_told_was_notified(pipeline: Pipeline, told: bool, state: str) -> None:
    uuid, message = new_request(pipeline)
    commit([SettleOutbox(0, message, sent=True, told=told)])
    assert state_of(uuid) == state


def test_a_notice_says_what_the_owner_needs(pipeline: Pipeline) -> None:
    Pipeline.objects.filter(pk=pipeline.pk).update(owner_email="me@blog.example", webhook_url="https://x.test/")
    session = new_session(pipeline)
    uuid, message = new_request(pipeline, session, user_agent="Browser", escalated=True)
    notice = contacts.notice_of(message)
    assert notice is not None
    assert (notice.request, notice.session, notice.text) == (uuid, session.uuid, "请联系我")
    assert (notice.owner_email, notice.webhook_url) == ("me@blog.example", "https://x.test/")
    assert (notice.user_agent, notice.escalated, notice.language) == ("Browser", True, "zh-hans")
    assert contacts.notice_of(0) is None


def test_the_owners_words_are_stored_told_and_settle_the_request(pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    uuid, _ = new_request(pipeline, session)
    told: list[MessageStored] = []

    def hear(event: MessageStored, **_signal: Any) -> None:
        told.append(event)

    signals.said.connect(hear)
    try:
        message = services.reply_as_owner(session.uuid, "您好", name="Li" * 100, contacts=(uuid,))
    finally:
        signals.said.disconnect(hear)
    assert (message.role, message.text, message.seq) == (Role.OPERATOR, "您好", 2)
    row = Message.objects.get(pk=message.id)
    assert (row.session.uuid, row.session.last_seq, row.sender_name) == (session.uuid, 2, ("Li" * 100)[:100])
    assert [event.message for event in told] == [message]
    assert state_of(uuid) == "replied"
    assert services.reply_as_owner(session.uuid, "还有", name="Li").seq == 3


def test_nothing_is_said_in_a_session_that_is_not_there(pipeline: Pipeline) -> None:
    with pytest.raises(Refused):
        services.reply_as_owner(uuid4(), "您好", name="Li")


async def test_visitor_and_owner_at_once_get_a_place_each(store: WatchedStore, pipeline: Pipeline) -> None:
    session = new_session(pipeline)
    await store.write(Accept(question(session, wants_answer=False), pipeline.pk, uuid4()))
    jobs = [
        store.submit(
            OperatorSays(session.uuid, f"words {number}", "Li")
            if number % 2
            else Accept(question(session, f"words {number}", wants_answer=False), pipeline.pk, uuid4())
        )
        for number in range(20)
    ]
    await asyncio.gather(*jobs)
    found = Message.objects.filter(session__uuid=session.uuid).order_by("seq").values_list("seq", flat=True)
    assert await store.read(lambda: list(found)) == list(range(1, 22))
