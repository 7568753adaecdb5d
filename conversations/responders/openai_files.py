"""The files of a conversation as a model is shown them: pictures made small, texts cut, both within bounds."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Protocol

import structlog

from conversations.responders.base import Ask
from conversations.responders.openai_messages import NOTHING_SHOWN, Shown, estimate_tokens
from conversations.types import Role, Upload

log = structlog.get_logger(__name__)

PICTURES = 4  # newest of a conversation that a model is shown with one question
TEXTS = 4
CHARACTERS = 4  # that a token has at most, in our count


class Files(Protocol):
    """Reads what was sent; each raises many kinds where it cannot."""

    async def picture(self, upload: Upload, /) -> bytes:
        """Return a picture as a JPEG for a model."""
        ...

    async def text(self, upload: Upload, characters: int, /) -> str:
        """Return the beginning of a document, nothing of one that is no text."""
        ...


class NoFiles:
    """Has none."""

    async def picture(self, upload: Upload, /) -> bytes:
        raise FileNotFoundError(upload.key)

    async def text(self, upload: Upload, characters: int, /) -> str:
        return ""


async def show(files: Files, ask: Ask, tokens: int, by: float) -> Shown:
    """Return what a model is shown of the newest files, with texts of at most `tokens` together.

    What cannot be read, or not until `by` on the loop's clock, is left out: the words of its message name it.
    """
    newest = list(ask.files)
    for past in reversed(ask.history):
        if past.role is Role.USER:
            newest += past.files
    if not newest:
        return NOTHING_SHOWN
    pictures: dict[str, str] = {}
    texts: list[tuple[str, str]] = []
    try:
        async with asyncio.timeout_at(by):
            for upload in _some(newest, "document", TEXTS):
                if text := (await files.text(upload, CHARACTERS * tokens)).strip():
                    text = _cut(text, tokens)
                    tokens -= estimate_tokens(text)
                    texts.append((upload.name, text))
                if tokens <= 0:
                    break
            for upload in _some(newest, "image", PICTURES if ask.route.vision else 0):
                pictures[upload.key] = f"data:image/jpeg;base64,{b64encode(await files.picture(upload)).decode()}"
    except Exception as error:  # noqa: BLE001  an answer without it is better than none
        log.warning("model.file_not_shown", error=type(error).__name__)
    return Shown(pictures, texts)


def _some(newest: Sequence[Upload], kind: str, count: int) -> list[Upload]:
    return [upload for upload in newest if upload.kind == kind][:count]


def _cut(text: str, tokens: int) -> str:
    """Return as much of a text as takes at most `tokens`."""
    while (taken := estimate_tokens(text)) > tokens:
        text = text[: min(len(text) * tokens // taken, len(text) - 1)]
    return text
