"""What a visitor thinks of an answer: one opinion an answer, the last one counts."""

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

import msgspec
from django.utils import timezone

from conversations.models import Feedback, Message
from conversations.store import Job
from conversations.types import Opinion, Role


class SaveFeedback(Job, msgspec.Struct, frozen=True):
    """Note what is thought of an answer, None for nothing any more; the result tells whether there is such an answer.

    An answer of another session is none.
    """

    rank: ClassVar[int] = 44
    session: UUID
    message: int
    opinion: Opinion | None

    @classmethod
    def apply(cls, jobs: Sequence["SaveFeedback"]) -> Sequence[bool]:
        """Save each, in order."""
        return [job.save() for job in jobs]

    def save(self) -> bool:
        """Save the opinion."""
        answers = Message.objects.filter(pk=self.message, session__uuid=self.session, role=Role.ASSISTANT.value)
        session = answers.values_list("session_id", flat=True).first()
        if session is None:
            return False
        if self.opinion is None:
            Feedback.objects.filter(message_id=self.message).delete()
        else:
            now = timezone.now()
            Feedback.objects.update_or_create(
                message_id=self.message,
                defaults={"value": self.opinion, "updated_at": now},
                create_defaults={
                    "value": self.opinion, "session_id": session, "created_at": now, "updated_at": now,
                },
            )  # fmt: skip
        return True
