"""Files told in words, where a message is read as text: a line for each below what is said. Pure."""

from collections.abc import Sequence

from conversations.types import StoredMessage, Upload

_MARKS = {"image": "[Image]", "document": "[File]"}


def mark_of(file: Upload) -> str:
    """Return the line that stands for a file."""
    return f"{_MARKS[file.kind]} {file.name}"


def readable(words: str, files: Sequence[Upload]) -> str:
    """Return the text of a message that says `words` and has `files`."""
    return with_lines(words, [mark_of(file) for file in files])


def with_lines(words: str, lines: Sequence[str]) -> str:
    """Return `words`, where there are some, with `lines` below them."""
    return "\n".join([words, *lines] if words else lines)


def words_in(text: str, files: Sequence[Upload]) -> str:
    """Return what is said in a `readable` text, without the lines of its files."""
    parts = text.rsplit("\n", len(files)) if files else [text]  # a name has no line end
    return parts[0] if len(parts) > len(files) else ""


def words_of(message: StoredMessage) -> str:
    """Return what is said in a message, without the lines of its files."""
    return words_in(message.text, message.files)
