"""What the web chat asks for beside the wire's own, by `rich=1`: HTML, how an answer ended, ids to find one's own by."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

from conversations import markdown, selectors
from conversations.markdown import Growing
from conversations.store import unhurried
from conversations.types import Event, Language, MessageStored, ReplyDelta, Role, SessionKey, StoredMessage
from integrations.langbot.protocol import MessageData, Response, UserMessage, serialise
from integrations.langbot.translate import encode, message_data, plain_values, reply_data
from integrations.outbound import Frame
from integrations.peers import Peer

GROWING = 1000  # answers that grow whose HTML is remembered; of the oldest beyond it all is made anew
RENDERED = 256 * 1024  # characters of one history that are shown as Markdown; what is older as it was written


class RichEncoder:
    """Encodes a session's events for those who asked for more, once for all of them in this process."""

    def __init__(self) -> None:
        self._growing: OrderedDict[int, Growing] = OrderedDict()

    def encode(self, event: Event) -> Frame | None:
        """Return the frame that tells of an event; None also for a delta that tells too little to be worth its HTML."""
        match event:
            case MessageStored(message=message):
                growing = self._growing.pop(message.id, None)
                data = rich_data(message, growing.finish if growing else markdown.render)
                if message.role is Role.USER:
                    return Frame(serialise(UserMessage(message.session_type, data)))
                return Frame(serialise(Response(message.session_type, data)), key=message.id, last=True)
            case ReplyDelta():
                data = reply_data(event)
                html = self._of(event.id).grow(data.content)
                if html is None:
                    return None
                data = msgspec.structs.replace(data, html=html)
                return Frame(serialise(Response(event.session_type, data)), key=event.id)
            case _:
                return encode(event)

    def _of(self, answer: int) -> Growing:
        growing = self._growing.get(answer)
        if growing is None:
            if len(self._growing) >= GROWING:
                self._growing.popitem(last=False)
            growing = self._growing[answer] = Growing()
        return growing


def rich_data(message: StoredMessage, render: Any = markdown.render, feedback: str | None = None) -> MessageData:
    """Return a stored message as those see it who asked for more."""
    data = message_data(message)
    if message.role is Role.USER:
        return msgspec.structs.replace(data, client_msg_id=message.request_id or None)
    outcome = message.outcome.value if message.outcome else None
    return msgspec.structs.replace(data, html=render(data.content), outcome=outcome, feedback=feedback)


@unhurried
def history(session: SessionKey, *, after_seq: int | None, limit: int) -> list[object]:
    """Return the rows of a session's history. Synchronous."""
    return _rows(selectors.session_history(session, after_seq=after_seq, limit=limit))


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
