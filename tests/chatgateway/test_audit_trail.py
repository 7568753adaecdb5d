"""What happens to conversations is found again in the audit trail: who, what, to which."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User

from connections.models import AuditEntry
from connections.services import create_application
from conversations import services, signals
from conversations.jobs import HeldByAnother, Release, Reset
from conversations.models import ChatSession, Message, Pipeline
from conversations.store import Unstorable, commit

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CANARY = "canary-41d0"


@pytest.fixture
def session() -> ChatSession:
    return new_session(Pipeline.objects.create(name="Shop"))


def new_session(pipeline: Pipeline) -> ChatSession:
    times = {"created_at": NOON, "last_message_at": NOON}
    session = ChatSession.objects.create(
        uuid=uuid4(), pipeline=pipeline, session_type="person", wire="langbot", last_seq=1, **times
    )
    Message.objects.create(session=session, seq=1, role="user", text=CANARY, created_at=NOON)
    return session


def trail() -> list[tuple[Any, ...]]:
    """Return every entry, the oldest first."""
    return list(AuditEntry.objects.order_by("id").values_list("action", "actor", "user", "subject", "details"))


def reset(session: ChatSession, uuid: UUID | None, actor: str | UUID) -> None:
    commit([Reset(session.pipeline_id, "person", uuid, actor)])


def test_who_takes_over_and_hands_back_is_recorded_once(session: ChatSession) -> None:
    ann, bob = (User.objects.create_user(name).pk for name in ("ann", "bob"))
    services.take_over(session.uuid, ann, "Ann", seconds=60)
    services.take_over(session.uuid, ann, "Ann", seconds=60)
    with pytest.raises(HeldByAnother):
        services.take_over(session.uuid, bob, "Bob", seconds=60)
    with pytest.raises(HeldByAnother):
        services.hand_back(session.uuid, bob)
    services.hand_back(session.uuid, ann)
    services.hand_back(session.uuid, ann)
    subject = f"session {session.uuid}"
    assert trail() == [("take-over", "Ann", ann, subject, ""), ("hand-back", "Ann", ann, subject, "")]


def test_what_goes_back_by_itself_is_the_gateway_s_deed(session: ChatSession) -> None:
    ann = User.objects.create_user("ann").pk
    services.take_over(session.uuid, ann, "Ann", seconds=60)
    session.refresh_from_db()
    commit([Release(session.uuid, untouched=session.held_until)])
    assert trail()[1:] == [("hand-back", "gateway", None, f"session {session.uuid}", "")]


def test_a_reset_names_the_application_and_the_session(session: ChatSession) -> None:
    application = create_application("shop")[0]
    new_session(session.pipeline)
    AuditEntry.objects.all().delete()
    reset(session, session.uuid, application.uuid)
    reset(session, None, "anybody")
    reset(session, uuid4(), "anybody")
    assert trail() == [
        ("reset", f"application shop ({application.appid})", None, f"session {session.uuid}", ""),
        ("reset", "anybody", None, "every person session of Shop", "2 in all"),
    ]
    assert CANARY not in str(trail())


def test_what_cannot_be_recorded_is_not_done(session: ChatSession) -> None:
    def fail(**_signal: Any) -> None:
        raise OSError("disk full")

    ann = User.objects.create_user("ann").pk
    signals.recorded.connect(fail)
    try:
        with pytest.raises(Unstorable):
            services.take_over(session.uuid, ann, "Ann", seconds=60)
    finally:
        signals.recorded.disconnect(fail)
    session.refresh_from_db()
    assert session.held_since is None
    assert trail() == []
