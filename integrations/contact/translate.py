"""Between conversations and this wire's frames."""

from typing import Literal
from uuid import UUID, uuid5

import msgspec

from conversations import phrases
from conversations.types import Outcome, ReplyDelta, Role, StoredMessage
from integrations.attached import as_text
from integrations.contact.protocol import ChatDelta, ChatReceived, ContactReceived, Said, stamp
from integrations.increments import added

FAILED = "抱歉，我暂时无法处理您的请求，请稍后再试。"
CHAT_RECEIVED = "消息已收到"
CONTACT_RECEIVED = "联系请求已收到，博主将尽快回复您"
# What the gateway itself says where no word of an answer came: this wire has a sentence of its own.
_NO_ANSWER = {*phrases.FAILURE.values(), *phrases.CUT.values(), *phrases.BROKEN_OFF.values()}


class Receiver(msgspec.Struct):
    """What one socket wants to know, and what it was told of the answer that is growing.

    `public_url` is where files are read, or empty.
    """

    session: UUID
    stream: bool = False
    public_url: str = ""
    resumed: bool = False
    answer: int = 0
    told: str = ""

    def increment(self, delta: ReplyDelta) -> ChatDelta | None:
        """Return what is new of an answer, None where nothing is or this socket did not ask for it."""
        if not self.stream:
            return None
        if delta.id != self.answer:
            self.answer, self.told = delta.id, ""
        new = added(self.told, delta.text)
        if not new:
            return None
        self.told = delta.text
        return ChatDelta(message_uuid(self.session, delta.question_id or delta.id), new)

    def said(self, message: StoredMessage) -> Said:
        """Return a stored message as this wire tells it."""
        sender = _SENDERS[message.role]
        marked = self.stream or self.resumed
        return Said(
            message=self._words(message),
            sender=sender,
            timestamp=stamp(message.timestamp),
            message_id=message_uuid(message.session, message.question_id or message.id) if marked else msgspec.UNSET,
            seq=self._seq(message),
        )

    def chat_received(self, message: StoredMessage) -> ChatReceived:
        """Return the acknowledgement of a chat message."""
        return ChatReceived(
            message=CHAT_RECEIVED,
            message_id=message_uuid(message.session, message.id),
            timestamp=stamp(message.timestamp),
            seq=self._seq(message),
        )

    def contact_received(self, message: StoredMessage) -> ContactReceived:
        """Return the acknowledgement of the contact request that a message opened, which has its id."""
        return ContactReceived(
            CONTACT_RECEIVED, message.request_id, stamp(message.timestamp), "received", self._seq(message)
        )

    def _seq(self, message: StoredMessage) -> int | msgspec.UnsetType:
        return message.seq if self.resumed else msgspec.UNSET

    def _words(self, message: StoredMessage) -> str:
        failed = message.outcome in (Outcome.FAILED, Outcome.CUT) and message.text in _NO_ANSWER
        return FAILED if failed else as_text(message, self.public_url)


def message_uuid(session: UUID, message: int) -> str:
    """Return the UUID by which this wire knows a message."""
    return str(uuid5(session, f"message/{message}"))


def components(text: str, claim: str) -> str:
    """Return a message's component list, with the time that its client claims; empty where it claims none."""
    return msgspec.json.encode([{"type": "Plain", "text": text, "timestamp": claim}]).decode() if claim else ""


_SENDERS: dict[Role, Literal["assistant", "owner", "user"]] = {
    Role.USER: "user",
    Role.ASSISTANT: "assistant",
    Role.OPERATOR: "owner",
    Role.NOTICE: "assistant",
}
