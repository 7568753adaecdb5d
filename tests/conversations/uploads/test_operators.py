"""Files that go with an operator's reply: his message's from the moment it is there, and no other's."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User

from conversations import desk, services
from conversations.desk import pipeline_to_reply_in
from conversations.jobs import Accept, HeldByAnother, OperatorSays, StoreUpload, UploadTaken
from conversations.models import Message, Pipeline
from conversations.models import Upload as UploadRow
from conversations.selectors import messages_after, session_history
from conversations.store import Refused, commit
from conversations.transcript import read_transcript
from conversations.types import Role, SessionKey, StoredMessage, Upload
from conversations.uploads.shelf import derived_key
from conversations.uploads.words import readable, words_in, words_of
from tests.conversations.doubles import new_session, question

SHOP = Upload(derived_key("shop"), "image", "shop.png", "image/png", 5_000, 640, 320)
NOTES = Upload(derived_key("notes"), "document", "notes.txt", "text/plain", 20)


class Counter:
    """A conversation of a visitor, and Ann, who answers in it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.ann = User.objects.create_user(f"ann-{uuid4()}").pk
        self.session = self.visited()

    def visited(self, *, pipeline: Pipeline | None = None) -> SessionKey:
        """Return a conversation in which a visitor said something."""
        owner = pipeline or self.pipeline
        session = new_session(owner)
        self.commit(Accept(question(session, "Hello", wants_answer=False), owner.pk, uuid4()))
        return session

    def keep(self, *files: Upload, pipeline: Pipeline | None = None) -> tuple[str, ...]:
        """Keep files of these kinds, each under a key of its own, and return the keys."""
        made = [Upload(derived_key(str(uuid4())), *_but_key(file)) for file in files]
        for file in made:
            self.commit(StoreUpload(file, (pipeline or self.pipeline).pk, "operator 1"))
        return tuple(file.key for file in made)

    def say(self, text: str, *uploads: str, session: SessionKey | None = None, **fields: Any) -> StoredMessage:
        fields = {"name": "Ann", "operator": self.ann, "seconds": 600.0, **fields}
        return services.reply_as_owner((session or self.session).uuid, text, uploads=uploads, **fields)

    def said(self) -> list[StoredMessage]:
        found = messages_after(self.session.uuid, 0, 100)
        return [message for message in found if message.role is Role.OPERATOR]

    def owner_of(self, key: str) -> int | None:
        return UploadRow.objects.get(key=key).message_id

    def commit(self, job: Any) -> Any:
        (result,) = commit([job])
        assert not isinstance(result, Exception), result
        return result


def _but_key(file: Upload) -> tuple[Any, ...]:
    return file.kind, file.name, file.media_type, file.size, file.width, file.height


@pytest.fixture
def counter(pipeline: Pipeline) -> Counter:
    return Counter(pipeline)


def test_a_reply_has_its_files_in_their_order_when_it_is_told_and_when_it_is_read_again(counter: Counter) -> None:
    notes, shop = counter.keep(NOTES, SHOP)
    told = counter.say("Look:\nhere", shop, notes)
    assert [file.key for file in told.files] == [shop, notes]
    assert [_but_key(file) for file in told.files] == [_but_key(SHOP), _but_key(NOTES)]
    assert told.text == "Look:\nhere\n[Image] shop.png\n[File] notes.txt"
    assert words_of(told) == "Look:\nhere"
    assert counter.said() == [told]
    assert session_history(counter.session, after_seq=None, limit=10)[-1] == told
    assert {counter.owner_of(key) for key in (shop, notes)} == {told.id}


def test_files_say_it_all(counter: Counter) -> None:
    (shop,) = counter.keep(SHOP)
    told = counter.say("", shop)
    assert (told.text, words_of(told)) == ("[Image] shop.png", "")
    opened = desk.open_conversation(counter.session.uuid, counter.ann)
    assert opened is not None
    assert opened.conversation.last_words == "[Image] shop.png"  # the queue tells of it
    line = opened.transcript.lines[-1]
    assert (line.role, line.text, [file.key for file in line.files]) == ("operator", "", [shop])


def test_the_transcript_shows_words_without_the_lines_that_stand_for_files(counter: Counter) -> None:
    notes, shop = counter.keep(NOTES, SHOP)
    counter.say("See [File] notes.txt", shop, notes)
    row = Message.objects.get(pk=counter.said()[0].id).session
    assert read_transcript(row).lines[-1].text == "See [File] notes.txt"


def test_a_reply_sent_again_is_the_same_with_the_same_files(counter: Counter) -> None:
    (shop,) = counter.keep(SHOP)
    name = uuid4()
    first = counter.say("Look", shop, uuid=name)
    assert counter.say("Look", shop, uuid=name) == first
    assert counter.said() == [first]


def test_a_file_belongs_to_one_reply_only(counter: Counter) -> None:
    shop, notes = counter.keep(SHOP, NOTES)
    first = counter.say("Look", shop)
    for session in (counter.session, counter.visited()):
        with pytest.raises(UploadTaken, match="already"):
            counter.say("And again", notes, shop, session=session)
    assert counter.said() == [first]
    assert counter.owner_of(notes) is None  # it may still be sent


def test_two_replies_of_one_transaction_do_not_both_have_a_file(counter: Counter) -> None:
    (shop,) = counter.keep(SHOP)
    jobs = [OperatorSays(counter.session.uuid, words, "Ann", uploads=(shop,)) for words in ("One", "Two")]
    one, two = commit(jobs)
    assert isinstance(one, StoredMessage)
    assert isinstance(two, UploadTaken)
    assert counter.owner_of(shop) == one.id
    assert [message.text for message in counter.said()] == [one.text]


def test_what_a_visitor_sent_is_no_operator_s_to_send(counter: Counter) -> None:
    (shop,) = counter.keep(SHOP)
    asked = question(counter.session, "[Image]", wants_answer=False, uploads=(shop,))
    message = counter.commit(Accept(asked, counter.pipeline.pk, uuid4())).message
    with pytest.raises(UploadTaken):
        counter.say("Yours", shop)
    assert counter.owner_of(shop) == message.id


def test_one_that_is_gone_or_another_pipeline_s_is_refused_and_the_reply_with_it(counter: Counter) -> None:
    elsewhere = Pipeline.objects.create(name="Elsewhere")
    (foreign,) = counter.keep(SHOP, pipeline=elsewhere)
    for key in (foreign, derived_key(str(uuid4()))):
        with pytest.raises(UploadTaken, match="not there any more"):
            counter.say("Look", key)
    assert counter.said() == []


def test_who_does_not_hold_the_conversation_sends_no_file_in_it(counter: Counter) -> None:
    (shop,) = counter.keep(SHOP)
    bob = User.objects.create_user(f"bob-{uuid4()}").pk
    assert pipeline_to_reply_in(counter.session.uuid, bob) == counter.pipeline.pk
    services.take_over(counter.session.uuid, counter.ann, "Ann", seconds=600)
    with pytest.raises(HeldByAnother, match="Ann"):
        pipeline_to_reply_in(counter.session.uuid, bob)
    with pytest.raises(HeldByAnother):
        counter.say("Mine", shop, operator=bob)
    assert counter.owner_of(shop) is None
    assert pipeline_to_reply_in(counter.session.uuid, counter.ann) == counter.pipeline.pk
    with pytest.raises(Refused):
        pipeline_to_reply_in(UUID(int=0), counter.ann)


@pytest.mark.parametrize("words", ["", "one", "two\nlines", "ends\n", "[Image] shop.png", "\n"])
def test_words_are_found_again_beside_any_files(words: str) -> None:
    for files in ((), (SHOP,), (SHOP, NOTES)):
        assert words_in(readable(words, files), files) == words
