"""How the desk names visitors and tells times."""

from datetime import datetime

from django import template
from django.utils import timezone

from conversations.desk import Conversation

register = template.Library()

STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@register.filter
def age(time: datetime) -> str:
    """Return how long ago something was, shortly: now, 5 min, 2 h, 3 d."""
    seconds = int((timezone.now() - time).total_seconds())
    for step, unit in STEPS:
        if seconds >= step:
            return f"{seconds // step} {unit}"
    return "now"


@register.filter
def called(conversation: Conversation) -> str:
    """Return what a conversation is called: its name, else the beginning of its UUID."""
    return conversation.name or f"Visitor {str(conversation.uuid)[:8]}"
