"""What the web chat asks for beside the wire's own, by `rich=1`: HTML, how an answer ended, ids to find its own by."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

from conversations import markdown, phrases, selectors
from conversations.growing import GrowingAnswers
from conversations.store import unhurried
from conversations.types import (
    Event,
    Language,
    MessageStored,
    ReplyDelta,
    Role,
    SessionKey,
    SessionReset,
    StoredMessage,
)
from conversations.uploads.words import words_of
from integrations.langbot.components import text_of
from integrations.langbot.protocol import MessageData, Reset, Response, UserMessage, answer_chain, serialise
from integrations.langbot.translate import encode, message_data, plain_values, reply_data
from integrations.outbound import Frame
from integrations.peers import Peer

RENDERED = 256 * 1024  # characters of one history that are shown as Markdown; what is older as it was written
RENDERED_AGAIN = 64 * 1024  # the same of one replay, which is rendered between what the other sockets are told


class RichEncoder:
    """Encodes a session's events for those who asked for more, once for all of them in this process."""

    def __init__(self, growing: GrowingAnswers | None = None) -> None:
        self._growing = GrowingAnswers() if growing is None else growing

    def encode(self, event: Event) -> Frame | None:
        """Return the frame that tells of an event; None also for a delta whose HTML would cost too much now."""
        match event:
            case MessageStored(message=message):
                return _stored(message, partial(self._growing.finish, message.id))
            case ReplyDelta():
                html = self._growing.grow(event.id, _shown(event))
                if html is None:
                    return None
                data = msgspec.structs.replace(reply_data(event), html=html)
                return Frame(serialise(Response(event.session_type, data)), key=event.id)
            case SessionReset():
                return Frame(serialise(Reset(event.first_id)))
            case _:
                return encode(event)


def _stored(message: StoredMessage, render: Callable[[str], str]) -> Frame:
    data = rich_data(message, render)
    if message.role is Role.USER:
        return Frame(serialise(UserMessage(message.session_type, data)))
    return Frame(serialise(Response(message.session_type, data)), key=message.id, last=True)


def retell(newest: int) -> Callable[[StoredMessage], Frame]:
    """Return what makes the frames of stored messages: those from the `seq` `newest` on have Markdown."""
    return lambda message: _stored(message, markdown.render if message.seq >= newest else markdown.plain)


def rich_data(
    message: StoredMessage, render: Callable[[str], str] = markdown.render, feedback: str | None = None
) -> MessageData:
    """Return a stored message as those see it who asked for more."""
    data = message_data(message)
    if message.role is Role.USER:
        return msgspec.structs.replace(data, client_msg_id=message.request_id or None)
    outcome = message.outcome.value if message.outcome else None
    shown = words_of(message) if message.files else _shown(message)  # files are shown beside it
    called = message.role is Role.ASSISTANT and phrases.is_called(message.text)
    return msgspec.structs.replace(data, html=render(shown), outcome=outcome, feedback=feedback, called=called)


def _shown(said: StoredMessage | ReplyDelta) -> str:
    """Return what is said as text, but for what the citations say that are shown beside it."""
    return text_of(answer_chain(said.session_type, said.reply_to, said.text_beside_citations))


@unhurried
def history(session: SessionKey, **which: Any) -> list[object]:
    """Return the rows of a session's history, as `session_history` selects them. Synchronous."""
    return _rows(selectors.session_history(session, **which))


def _rows(messages: Sequence[StoredMessage]) -> list[object]:
    """Return messages as plain values, oldest first; the newest have Markdown, up to RENDERED characters."""
    opinions = selectors.opinions([message.id for message in messages if message.role is Role.ASSISTANT])
    rows: list[object] = []
    left = RENDERED
    for message in reversed(messages):
        left -= len(message.text)
        render = markdown.render if left >= 0 else markdown.plain
        rows.append(plain_values(rich_data(message, render, opinions.get(message.id))))
    return rows[::-1]


def language_of(peer: Peer) -> Language:
    """Return the language that a page, or its browser, asks for."""
    asked = peer.query.get("lang", "")
    wanted = [(asked, 1.0)] if asked else parse_accept_lang_header(peer.headers.get("accept-language", "").lower())
    for code, _ in wanted:
        try:
            return "en" if get_supported_language_variant(code) == "en" else "zh-hans"
        except LookupError:
            continue
    return "zh-hans"
