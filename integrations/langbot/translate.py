"""Between conversations and this wire's frames: events to frames, messages to history rows."""

from typing import Any

import msgspec

from conversations.responders.base import PipelineConfig
from conversations.types import Broadcast, Event, MessageStored, ReplyDelta, Role, StoredMessage, Upload
from conversations.uploads.words import words_of
from integrations.attached import url_of
from integrations.langbot.components import Component, File, Image, mentions_bot, prompt_of, text_of
from integrations.langbot.protocol import (
    Announcement,
    ChatMessage,
    MessageData,
    Response,
    Source,
    Speaker,
    UserMessage,
    answer_chain,
    serialise,
    stamp,
)
from integrations.outbound import Frame

WIRE = "langbot"


def encode(event: Event) -> Frame | None:
    """Return the frame that tells of an event, or None where this wire does not tell it."""
    match event:
        case MessageStored(message=message):
            data = message_data(message)
            if message.role is Role.USER:
                return Frame(serialise(UserMessage(message.session_type, data)))
            return Frame(serialise(Response(message.session_type, data)), key=message.id, last=True)
        case ReplyDelta():
            return Frame(serialise(Response(event.session_type, reply_data(event))), key=event.id)
        case Broadcast() if event.is_for(WIRE):
            return Frame(serialise(Announcement(event.message, stamp(event.timestamp))))
        case _:
            return None


def reply_data(delta: ReplyDelta) -> MessageData:
    """Return an answer that grows as clients see it."""
    chain = answer_chain(delta.session_type, delta.reply_to, delta.text)
    return MessageData(
        id=delta.id,
        role="assistant",
        content=text_of(chain),
        message_chain=list(chain),
        timestamp=stamp(delta.timestamp),
        is_final=False,
        connection_id="",
    )


def message_data(message: StoredMessage) -> MessageData:
    """Return a stored message as clients see it."""
    if message.role is Role.USER:
        chain: msgspec.Raw | list[Any] = (
            msgspec.Raw(message.components.encode())
            if message.components
            else list(answer_chain("person", "", message.text))
        )
        content = message.text
        citations = None
    else:
        answer = _chain_of(message)
        chain, content = [*answer, *map(_component_of, message.files)], f"{text_of(answer)}{_marks_of(message)}"
        citations = tuple(
            Source(source.doc_id, source.space_id, source.title, source.url, source.score)
            for source in message.citations
        )
    return MessageData(
        id=message.id,
        role="user" if message.role is Role.USER else "assistant",
        content=content,
        message_chain=chain,
        timestamp=stamp(message.timestamp),
        is_final=True,
        connection_id=message.connection_id if message.role is Role.USER else "",
        seq=message.seq,
        citations=citations,
        sender=Speaker(message.sender.kind, message.sender.name) if message.sender else None,
    )


def _chain_of(message: StoredMessage) -> list[Component]:
    """Return what somebody else than the visitor says, as components; his files follow them."""
    words = words_of(message)
    return answer_chain(message.session_type, message.reply_to, words) if words or not message.files else []


def _component_of(file: Upload) -> dict[str, Any]:
    """Return the component of a file, with what clients are told of those that they send."""
    kind = "Image" if file.kind == "image" else "File"
    component = {"type": kind, "path": file.key, "url": url_of(file.key), "name": file.name, "size": file.size}
    return {**component, "width": file.width, "height": file.height} if file.kind == "image" else component


def _marks_of(message: StoredMessage) -> str:
    return text_of([Image() if file.kind == "image" else File() for file in message.files])


def prompt(frame: ChatMessage, pipeline: PipelineConfig, *, group: bool) -> str | None:
    """Return what the bot is asked, or None where it is not: empty, or in a group not addressed."""
    asked = prompt_of(frame.components)
    if group and pipeline.group_reply == "mentioned" and not mentions_bot(frame.components):
        prefix = pipeline.group_prefix
        if not prefix or not asked.lower().startswith(prefix.lower()):
            return None
        rest = asked[len(prefix) :]
        if prefix[-1:].isascii() and prefix[-1:].isalnum() and rest[:1].isascii() and rest[:1].isalnum():
            return None  # a longer word that only begins like the prefix
        asked = rest.strip().lstrip(",，:：").strip()
    return asked or None


def history_row(message: StoredMessage) -> object:
    """Return a stored message as plain values, for REST."""
    return plain_values(message_data(message))


def plain_values(data: MessageData) -> object:
    """Return a message as plain values; its components are kept as JSON text."""
    return msgspec.json.decode(msgspec.json.encode(data))
