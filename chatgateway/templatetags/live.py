"""What a live page of staff needs in its head, and its sign that it is live."""

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chatgateway.live.access import page_token

register = template.Library()


@register.simple_tag(takes_context=True)
def live_token(context: dict[str, Any]) -> SafeString:
    """Return the page's token for staff's socket."""
    return format_html('<meta name="live-token" content="{}">', page_token(context["request"]))
