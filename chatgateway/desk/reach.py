"""What an operator's words can do on a wire, in a sentence for him."""

from typing import Literal

from integrations.capabilities import Capabilities

CHIPS = (
    ("stream", "Streaming", "Answers show as they grow"),
    ("push", "Push", "Words reach the visitor without his asking"),
    ("resume", "Resume", "What was missed is told again when he comes back"),
    ("groups", "Groups", "Several people share one conversation"),
    ("broadcast", "Broadcast", "Words to everybody on a pipeline"),
    ("files", "Files", "Pictures and documents show in the conversation; elsewhere they are links"),
    ("retract", "Retract", "A message can be taken back"),
)


Carries = Literal["at once", "mailbox", "when resumed", "never"]
REACH: dict[Carries, str] = {
    "at once": "Your words reach the visitor at once, or when he comes back.",
    "mailbox": "Your words go to the client's mailbox, and reach it as soon as it is connected.",
    "when resumed": "This wire carries answers only: your words reach the visitor when he resumes the conversation.",
    "never": "This wire carries answers only: your words cannot reach the visitor. While you have the conversation, "
    "each of his questions is answered with a short notice.",
}


def carries(can: Capabilities) -> Carries:
    """Return when an operator's words reach the visitor."""
    if can.push:
        return "at once" if can.resume else "mailbox"
    return "when resumed" if can.resume else "never"


def reach_of(can: Capabilities) -> str:
    """Return how an operator's words reach the visitor."""
    return REACH[carries(can)]


def chips_of(can: Capabilities) -> list[tuple[str, str, bool]]:
    """Return name, meaning and presence of each capability."""
    return [(name, meaning, getattr(can, field)) for field, name, meaning in CHIPS]
