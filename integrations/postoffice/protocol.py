"""The hub's letters. Pure.

A letter travels as its sender wrote it: its top level is taken apart into raw members, `from` is set, and it is joined
again. So unknown fields, the precision of numbers and the order of members stay.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from integrations.strict import ProtocolError, decode

BOT = "AI_CHATBOT"
SERVER = "server"
REPLIES = f"{BOT}/"  # addresses that the gateway gave out for one reply begin so
PIPELINES = "/pipeline/"
HEARTBEAT = "heartbeat"
ID_LENGTH = 300  # characters of a client ID
RECIPIENTS = 100  # of one letter; more are refused
LETTER_VALUES = 100_000  # in one letter: data travels here, not only words
ECHOED = 1_000  # characters of a subject, reference or thread that the gateway repeats
UNASKED = {"log", "register"}  # types that expect no answer of the bot

Names = str | list[str] | None | msgspec.UnsetType
Fate = Literal["delivered", "queued", "rejected"]  # of a letter, best first
RENAMED = {"sender": "from", "reference": "inReplyTo", "subject_id": "subjectId", "time": "createTime"}

_REFERENCES = ("inReplyTo", "id", "createTime")  # what a letter is known by to its sender, best first


class Letter(msgspec.Struct, frozen=True):
    """A letter as it is delivered.

    `refused` counts the recipients that are none: over RECIPIENTS, over ID_LENGTH, or not text. `question` is its
    content in words. `reference` is what it is known by to its sender, `subject_id` its thread: JSON texts, or empty
    where there is none that could be echoed.
    """

    text: str
    recipients: tuple[str, ...]
    refused: int
    type: str
    subject: str
    question: str
    reference: str
    subject_id: str


class Sent(msgspec.Struct, frozen=True, rename="camel"):
    """A letter as a client writes it: no member but `to` is needed to be delivered, and others are delivered too.

    `from` is set by the hub. Types `heartbeat`, `log` and `register` ask the bot nothing; `partial` is an increment of
    a service's answer. `inReplyTo`, else `id`, else `createTime` is what the letter is known by to its sender.
    """

    to: Names = msgspec.UNSET
    cc: Names = msgspec.UNSET
    type: str | msgspec.UnsetType = msgspec.UNSET
    subject: str | msgspec.UnsetType = msgspec.UNSET
    content: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    in_reply_to: Any = msgspec.UNSET
    subject_id: Any = msgspec.UNSET
    create_time: Any = msgspec.UNSET


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of each recipient; `refused` counts those that are none, `reason` says what was wrong."""

    number: int
    recipients: dict[str, Fate]
    refused: int = 0
    reason: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="receipt", rename=RENAMED):
    """What became of a client's letter number `content.number`, counted from its connection on."""

    sender: Literal["server"] = "server"
    to: str
    subject: Fate
    content: Delivery
    reference: msgspec.Raw
    time: int


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="msg", rename=RENAMED):
    """The bot's answer."""

    sender: str
    to: str
    subject: str
    content: str
    reference: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    subject_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    time: int


class Delivered(Sent, frozen=True, kw_only=True, rename="camel"):
    """Another client's letter, as it wrote it, with `from` set to its name."""

    sender: Annotated[str, msgspec.Meta(max_length=ID_LENGTH)] = msgspec.field(name="from")


def parse(data: str | bytes, sender: str) -> Letter:
    """Return the letter in a message from `sender`; raise ProtocolError where it is no strict JSON object."""
    value = decode(data, values=LETTER_VALUES)
    if not isinstance(value, dict):
        raise ProtocolError("A letter must be a JSON object")
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise ProtocolError("Invalid JSON format") from error
    members["from"] = msgspec.Raw(msgspec.json.encode(sender))
    recipients, refused = _recipients(value)
    content = value.get("content", "")
    subject = value.get("subject")
    return Letter(
        text=msgspec.json.encode(members).decode(),
        recipients=recipients,
        refused=refused,
        type=str(value.get("type", "")),
        subject=subject[:ECHOED] if isinstance(subject, str) else "",
        question=content if isinstance(content, str) else _text(members["content"]),
        reference=next((text for field in _REFERENCES if (text := _echo(value, members, field))), ""),
        subject_id=_echo(value, members, "subjectId"),
    )


def serialise(frame: Receipt | Answer) -> str:
    """Return a letter of the gateway's own."""
    return msgspec.json.encode(frame).decode()


def quoted(text: str) -> msgspec.Raw | msgspec.UnsetType:
    """Return a member that is repeated, UNSET where its JSON `text` is empty."""
    return msgspec.Raw(text.encode()) if text else msgspec.UNSET


def pipeline_in(address: str) -> UUID | None:
    """Return the pipeline that an address names, None where it names none."""
    try:
        return UUID(address.removeprefix(PIPELINES)) if address.startswith(PIPELINES) else None
    except ValueError:
        return None


def is_bot(address: str) -> bool:
    """Tell whether letters to an address are questions."""
    return address in {BOT, SERVER} or pipeline_in(address) is not None


def is_reserved(address: str) -> bool:
    """Tell whether an address is the gateway's own, so that no client may take it."""
    return is_bot(address) or address.startswith(REPLIES)


def _recipients(value: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    """Return everybody in `to`, then in `cc`, each once, and how many were no recipients."""
    found: dict[str, None] = {}
    refused = 0
    for name in ("to", "cc"):
        several = value.get(name)
        for recipient in several if isinstance(several, list) else [several]:
            if recipient in (None, "") or (isinstance(recipient, str) and recipient in found):
                continue
            if isinstance(recipient, str) and len(recipient) <= ID_LENGTH and len(found) < RECIPIENTS:
                found[recipient] = None
            else:
                refused += 1
    return tuple(found), refused


def _echo(value: dict[str, Any], members: dict[str, msgspec.Raw], field: str) -> str:
    """Return a field's JSON text, empty where there is none or more than may be echoed."""
    if value.get(field) in (None, ""):
        return ""
    text = _text(members[field])
    return text if len(text) <= ECHOED else ""


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode()
