"""The kinds of files that are taken. Pure."""

from typing import Literal

import msgspec

Kind = Literal["image", "document"]
Reason = Literal["kind", "empty", "large", "damaged", "pixels", "unpacks"]

_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OFFICE}.wordprocessingml.document"
XLSX = f"{_OFFICE}.spreadsheetml.sheet"
PPTX = f"{_OFFICE}.presentationml.presentation"
# By media type, the suffixes that a name may have; the first is put where it has none of them.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/png": (".png",),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
    "application/pdf": (".pdf",),
    "text/plain": (".txt",),
    "text/markdown": (".md", ".markdown"),
    "text/csv": (".csv",),
    DOCX: (".docx",),
    XLSX: (".xlsx",),
    PPTX: (".pptx",),
}


class UploadRefused(Exception):  # noqa: N818  an answer, not a fault
    """A file is not taken; the text says why, and goes on from the name of the field that it came in.

    `reason` is a word of it for programs: pages say it in the visitor's language.
    """

    def __init__(self, text: str, reason: Reason = "kind") -> None:
        super().__init__(text)
        self.reason = reason


class Found(msgspec.Struct, frozen=True):
    """What a file is; pictures have a size as they are shown, and a thumbnail."""

    kind: Kind
    media_type: str
    width: int | None = None
    height: int | None = None
    thumbnail: bytes = b""
