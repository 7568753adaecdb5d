"""What staff's pages say of signed calls."""

from uuid import UUID

from django import template

from integrations.webhooks import signing_key

register = template.Library()


@register.filter
def signed_with(owner: UUID) -> str:
    """Return the key that an owner's calls are signed with."""
    return signing_key(owner)
