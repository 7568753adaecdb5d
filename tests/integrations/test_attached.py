"""Files of an operator's message on wires that know only text."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from connections.mail import Deliver, Outcome
from conversations.jobs import Letter
from conversations.types import Role, Sender, SessionKey, StoredMessage, Upload
from conversations.uploads.words import readable
from integrations.attached import as_text
from integrations.contact.translate import Receiver
from integrations.postoffice.translate import AnswerPost, Envelope
from integrations.wechat.translate import answer_frame

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
URL = "https://chat.example"
FILES = (
    Upload("k" * 43, "image", "shop.png", "image/png", 5_000, 640, 320),
    Upload("d" * 43, "document", "价目 表.pdf", "application/pdf", 20),
)
LINES = f"[Image] shop.png {URL}/api/v1/files/{'k' * 43}\n[File] 价目 表.pdf {URL}/api/v1/files/{'d' * 43}"


def said(words: str, files: tuple[Upload, ...] = FILES) -> StoredMessage:
    text, sender = readable(words, files), Sender("operator", "Ann")
    return StoredMessage(7, uuid4(), "person", 3, Role.OPERATOR, text, NOON, sender=sender, files=files)


@pytest.mark.parametrize(
    ("words", "files", "public_url", "told"),
    [
        ("Look", FILES, URL, f"Look\n{LINES}"),
        ("", FILES, URL, LINES),
        ("Look", FILES, "", "Look\n[Image] shop.png\n[File] 价目 表.pdf"),
        ("", FILES[1:], "", "[File] 价目 表.pdf"),
        ("Look", (), URL, "Look"),
    ],
)
def test_a_message_is_told_as_text(words: str, files: tuple[Upload, ...], public_url: str, told: str) -> None:
    message = said(words, files)
    assert as_text(message, public_url) == told
    assert Receiver(uuid4(), public_url=public_url).said(message).message == told
    assert msgspec.to_builtins(answer_frame(message, public_url))["data"]["msg"] == told


class Box:
    """A mailroom that notes what is delivered."""

    limits: Any = None

    def __init__(self) -> None:
        self.letters: list[Any] = []

    async def deliver(self, job: Deliver) -> list[Outcome]:
        self.letters.append(msgspec.json.decode(job.text))
        return [Outcome.QUEUED]


async def test_a_letter_tells_of_files_with_their_addresses() -> None:
    envelope = msgspec.json.encode(Envelope("/user/1", "AI", "Port", "", "")).decode()
    question = StoredMessage(6, uuid4(), "person", 2, Role.USER, "How?", NOON, components=envelope)
    box: Any = Box()
    session = SessionKey(question.session, uuid4(), "person", "/user/1")
    letter = Letter(1, "postoffice", 0, session, 1, None, said("Look"), question)
    await AnswerPost(box, public_url=URL).deliver(letter)
    assert [letter["content"] for letter in box.letters] == [f"Look\n{LINES}"]
