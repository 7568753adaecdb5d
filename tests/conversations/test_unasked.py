"""What a person says where nothing listens to the session: it goes out of the outbox, to who asked last."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from conversations import services
from conversations.jobs import Accept, ClaimOutbox, Finish, Letter, Release
from conversations.models import OutboxEntry, Pipeline
from conversations.phrases import HANDED, JOINED, LEFT
from conversations.selectors import sessions_held
from conversations.store import Job, commit
from conversations.types import Accepted, Outcome, Question, SessionKey
from tests.conversations.doubles import new_session

AN_HOUR = 3600.0


@dataclass
class Correspondence:
    """A session whose wire, of the name `kind`, delivers by outbox, and its operator Ann."""

    session: SessionKey
    kind: str
    pipeline_id: int
    ann: int
    worker: UUID

    def write(self, text: str, components: str = "") -> Accepted:
        asked = Question(self.session, self.kind, text, components=components, notify=self.kind, stream=False)
        accepted = self.commit(Accept(asked, self.pipeline_id, self.worker))
        assert isinstance(accepted, Accepted)
        return accepted

    def answer(self, accepted: Accepted) -> None:
        """End the turn that was opened, as the bot would."""
        assert accepted.turn is not None
        self.commit(Finish(accepted.turn, self.worker, "From the bot.", Outcome.ANSWERED))

    def take_over(self, seconds: float = AN_HOUR) -> None:
        services.take_over(self.session.uuid, self.ann, "Ann", seconds=seconds)

    def say(self, text: str) -> None:
        services.reply_as_owner(self.session.uuid, text, name="Ann", operator=self.ann, seconds=AN_HOUR)

    def posted(self) -> list[tuple[str, str]]:
        """Return what was posted, in order, each with the words that it answers."""
        entries = OutboxEntry.objects.filter(kind=self.kind).order_by("id").select_related("message__question")
        return [(entry.message.text, entry.message.question.text) for entry in entries if entry.message.question]

    def claim(self) -> list[Letter]:
        letters = self.commit(ClaimOutbox(self.worker, {self.kind: 10}, {}))
        assert isinstance(letters, list)
        return letters

    def commit(self, job: Job) -> object:
        (result,) = commit([job])
        assert not isinstance(result, Exception), result
        return result


@pytest.fixture
def letters(pipeline: Pipeline, kind: str, settings: Settings) -> Correspondence:
    settings.OUTBOX_WIRES = frozenset({kind})
    ann = User.objects.create_user(f"ann-{uuid4()}")
    return Correspondence(new_session(pipeline), kind, pipeline.pk, ann.pk, uuid4())


def test_notices_and_words_of_a_person_are_posted_as_answers_to_the_latest_letter(letters: Correspondence) -> None:
    letters.answer(letters.write("First"))
    letters.take_over()
    letters.write("Second")
    letters.say("Hello")
    letters.say("Still there?")
    services.hand_back(letters.session.uuid, letters.ann)
    assert letters.posted() == [
        ("From the bot.", "First"),
        (JOINED["en"].format(name="Ann"), "First"),
        ("Hello", "Second"),
        ("Still there?", "Second"),
        (LEFT["en"].format(name="Ann"), "Second"),
    ]


def test_a_letter_that_was_being_answered_ends_once_with_the_notice(letters: Correspondence) -> None:
    accepted = letters.write("First")
    letters.take_over()
    letters.answer(accepted)
    assert letters.posted() == [(JOINED["en"].format(name="Ann"), "First"), (HANDED["en"], "First")]


def test_a_letter_that_comes_again_asks_the_bot_nothing_while_a_person_holds_it(letters: Correspondence) -> None:
    letters.answer(letters.write("First", components='{"n":1}'))
    letters.take_over()
    for _ in range(2):
        assert letters.write("First", components='{"n":2}').answer_id is None
    letters.say("Hello")
    services.hand_back(letters.session.uuid, letters.ann)
    assert [text for text, _ in letters.posted()].count("Hello") == 1
    accepted = letters.write("First")
    assert accepted.turn is not None
    letters.answer(accepted)
    assert letters.posted()[-1] == ("From the bot.", "First")


def test_the_gateway_posts_that_it_gives_back_what_nobody_touched(letters: Correspondence) -> None:
    letters.answer(letters.write("First"))
    letters.take_over(seconds=0)
    until = sessions_held()[letters.session.uuid]
    letters.commit(Release(letters.session.uuid, untouched=until + timedelta(seconds=1)))
    assert letters.posted()[-1] != (LEFT["en"].format(name="Ann"), "First"), "somebody touched it meanwhile"
    letters.commit(Release(letters.session.uuid, untouched=until))
    assert letters.posted()[-1] == (LEFT["en"].format(name="Ann"), "First")


def test_who_delivers_it_is_given_the_letter_that_it_answers(letters: Correspondence) -> None:
    letters.answer(letters.write("First", components='{"from":"me"}'))
    (answer,) = letters.claim()
    OutboxEntry.objects.filter(pk=answer.id).update(state=OutboxEntry.State.SENT)
    letters.take_over()
    (due,) = letters.claim()
    assert due.question is not None
    assert (due.message.text, due.question.components) == (JOINED["en"].format(name="Ann"), '{"from":"me"}')


def test_on_a_wire_that_pushes_nothing_is_posted(letters: Correspondence, settings: Settings) -> None:
    settings.OUTBOX_WIRES = frozenset()
    letters.answer(letters.write("First"))
    letters.take_over()
    letters.say("Hello")
    assert letters.posted() == [("From the bot.", "First")]
