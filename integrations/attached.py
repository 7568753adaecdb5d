"""Files of a message on the wires: where one is read, and how a wire that knows only text tells of them. Pure."""

from conversations.types import StoredMessage
from conversations.uploads.words import mark_of, with_lines, words_of


def url_of(key: str) -> str:
    """Return where an upload is read, on this server."""
    return f"/api/v1/files/{key}"


def as_text(message: StoredMessage, public_url: str) -> str:
    """Return a message as text; its files are lines with their addresses, where `public_url` says where they are."""
    if not message.files or not public_url:
        return message.text
    lines = [f"{mark_of(file)} {public_url}{url_of(file.key)}" for file in message.files]
    return with_lines(words_of(message), lines)
