"""Between conversations and letters: a letter to one of the bot's addresses is a question, its answer is a letter."""

import asyncio
from uuid import UUID

import msgspec

from connections.mail import Deliver, Outcome
from connections.mailroom import Mailroom
from conversations.jobs.outbox import Letter as Due
from conversations.outbox import Undeliverable
from conversations.responders.base import PipelineConfig
from conversations.turns import TurnRunner
from conversations.types import Accepted, Question, own_session
from integrations.attached import as_text
from integrations.postoffice.protocol import Answer, Letter, quoted, serialise

WIRE = "postoffice"  # also the outbox's name for answers that go back as letters


class Envelope(msgspec.Struct, frozen=True):
    """Who asked whom, kept with the question. `reference` and `subject_id` are JSON texts, or empty."""

    client: str
    bot: str
    subject: str
    reference: str
    subject_id: str


def ask(
    turns: TurnRunner,
    letter: Letter,
    pipeline: PipelineConfig,
    client_id: str,
    bot: str,
    connection_id: str,
    application: UUID | None,
) -> "asyncio.Future[Accepted]":
    """Put a letter's content to a pipeline; the answer comes back through the outbox."""
    envelope = Envelope(client_id, bot, letter.subject, letter.reference, letter.subject_id)
    return turns.ask(
        Question(
            session=own_session(pipeline.uuid, WIRE, client_id, bot, name=client_id),
            wire=WIRE,
            text=letter.question,
            components=msgspec.json.encode(envelope).decode(),
            connection_id=connection_id,
            application=application,
            stream=False,
            notify=WIRE,
        )
    )


class AnswerPost:
    """Delivers what the bot answers, and what a person says in its place, out of the outbox, like any other letter.

    `public_url` is where a person's files are read, or empty.
    """

    def __init__(self, mailroom: Mailroom, *, public_url: str) -> None:
        self._mailroom = mailroom
        self._public_url = public_url

    async def deliver(self, due: Due) -> None:
        """Put what was said into the mailbox of who asked."""
        if due.question is None:
            raise Undeliverable("no question")
        try:
            envelope = msgspec.json.decode(due.question.components, type=Envelope)
        except msgspec.DecodeError as error:
            raise Undeliverable("no envelope") from error
        answer = Answer(
            sender=envelope.bot,
            to=envelope.client,
            subject=envelope.subject,
            content=as_text(due.message, self._public_url),
            time=int(due.message.timestamp.timestamp()),  # not the clock: a repeated delivery is the same letter
            reference=quoted(envelope.reference),
            subject_id=quoted(envelope.subject_id),
        )
        (outcome,) = await self._mailroom.deliver(Deliver(serialise(answer), (envelope.client,), self._mailroom.limits))
        if outcome is Outcome.UNKNOWN:
            raise Undeliverable("no such client")
        if outcome is Outcome.FULL:
            raise MailboxFull


class MailboxFull(Exception):  # noqa: N818  names a state
    """Too much waits for the client already; there may be room later."""
