"""What a page is told of the conversation that it follows."""

from uuid import UUID

from chatgateway.live.protocol import Growing, Stored, serialise
from conversations.growing import GrowingAnswers
from conversations.types import Event, MessageStored, ReplyDelta
from integrations.outbound import Frame

SHARE = 0.1  # of a processor's time for the HTML of all answers that staff sees growing; else a delta is left out


class Teller:
    """Encodes a conversation's events, once for all pages of this process that follow it."""

    def __init__(self) -> None:
        self._growing = GrowingAnswers(share=SHARE)

    def encode(self, event: Event) -> Frame | None:
        """Return the frame that tells of an event; None also for a delta whose HTML would cost too much now."""
        match event:
            case ReplyDelta():
                html = self._growing.grow(event.id, event.text)
                return None if html is None else Frame(serialise(Growing(event.id, html)), key=("growing", event.id))
            case MessageStored(message=message):
                self._growing.forget(message.id)
                return stored(message.session, message.seq)
            case _:
                return None


def stored(session: UUID, seq: int) -> Frame:
    """Return the frame that tells how far a conversation has got."""
    return Frame(serialise(Stored(session, seq)), key=("stored", session))
