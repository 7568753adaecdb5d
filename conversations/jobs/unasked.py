"""What is said in a session without having been asked: an operator's words, and the gateway's notices.

Sockets of the session are told of it. On a wire of OUTBOX_WIRES none listens: there it goes out of the outbox, as a
further answer to what its visitor said last.
"""

import msgspec
from django.conf import settings
from django.utils import timezone

from conversations import rows
from conversations.jobs.questions import ANSWER_FIELDS, OUTBOX_FIELDS
from conversations.jobs.sessions import LockedSession
from conversations.models import ChatSession, Message, OutboxEntry
from conversations.types import Role, Sender, StoredMessage, Upload


def say(
    session: LockedSession, row: ChatSession, role: Role, text: str, name: str, files: tuple[Upload, ...] = ()
) -> StoredMessage:
    """Store `text` in a session, said by or about the person of that name, and return it.

    `files` are known by their keys; what is said of them is kept with it, in its order.
    """
    (id_,) = rows.reserve_message_ids(1)
    now = timezone.now()
    message = StoredMessage(
        id=id_,
        session=session.uuid,
        session_type="group" if row.session_type == ChatSession.Kind.GROUP else "person",
        seq=session.next_seq(),
        role=role,
        text=text,
        timestamp=now,
        sender=Sender(role.value, name),
        files=files,
    )
    is_posted = row.wire in settings.OUTBOX_WIRES
    if is_posted:
        message = msgspec.structs.replace(message, question_id=last_words(session))
    time = rows.adapt_time(now)
    values = (
        id_, session.id, message.seq, session.epoch, role.value, text, None, "", "", name, message.question_id, "",
        time, msgspec.json.encode(files).decode() if files else None,
    )  # fmt: skip
    rows.insert(Message, (*ANSWER_FIELDS, "components"), [values])
    if is_posted:
        rows.insert(OutboxEntry, OUTBOX_FIELDS, [(row.wire, id_, OutboxEntry.State.WAITING.value, 0, time, "", time)])
    return message


def last_words(session: LockedSession) -> int | None:
    """Return the id of what the visitor said last."""
    said = Message.objects.filter(session_id=session.id, role=Message.Role.USER).order_by("-seq")
    return said.values_list("id", flat=True).first()
