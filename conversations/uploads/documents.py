"""Documents: recognised by what is in them. Nothing of one is unpacked but the list of what an archive holds."""

import re
import struct
import zipfile
from io import BytesIO

from conversations.uploads.kinds import DOCX, PPTX, SUFFIXES, XLSX, Found, UploadRefused
from conversations.uploads.names import suffix_of

PARTS = 5_000  # files in one office document
UNPACKED = 256 * 1024 * 1024  # bytes of an office document's parts, as its list says
_LIST_BYTES = 512 * 1024  # of that list, and of the part that says what the others are
_ENDS_WITHIN = 2048  # bytes from the end in which a PDF says that it is over
_ARCHIVE_END, _ARCHIVE_END_64 = b"PK\x05\x06", b"PK\x06\x07"
_CONTENT_TYPES = "[Content_Types].xml"
_MAIN_PARTS = {f"{kind}.main+xml".encode(): kind for kind in (DOCX, XLSX, PPTX)}
_TEXTS = {suffix: kind for kind in ("text/plain", "text/markdown", "text/csv") for suffix in SUFFIXES[kind]} | {
    "": "text/plain"
}
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")  # but those of a text's layout
_NONE = "must be a PDF, a text (TXT, MD, CSV in UTF-8, UTF-16 or GB18030), DOCX, XLSX or PPTX"


def examine(content: bytes, name: str) -> Found:
    """Return what a document is; raise UploadRefused where it is none of those that are taken."""
    if content.startswith(b"%PDF-"):
        if b"%%EOF" not in content[-_ENDS_WITHIN:]:
            raise UploadRefused("is not a whole PDF", "damaged")
        return Found("document", "application/pdf")
    if content.startswith(b"PK\x03\x04"):
        return Found("document", _office(content))
    kind = _TEXTS.get(suffix_of(name))
    encoding = encoding_of(content) if kind else None
    if encoding is None:
        raise UploadRefused(_NONE)
    return Found("document", f"{kind}; charset={encoding}")


def encoding_of(content: bytes) -> str | None:
    """Return the encoding in which these bytes are a text, None where they are none."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding if _is_text(content, encoding) else None
    return next((encoding for encoding in ("utf-8", "gb18030") if _is_text(content, encoding)), None)


def _is_text(content: bytes, encoding: str) -> bool:
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return False
    # What other controls stand in is a program's data, whatever its letters look like.
    return not _CONTROLS.search(text)


def _office(content: bytes) -> str:
    """Return the media type of an office document; raise UploadRefused where it is none, or would burst."""
    _check_list(content)
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive, archive.open(_CONTENT_TYPES) as file:
            parts, types = archive.infolist(), file.read(_LIST_BYTES)
    except Exception as error:  # a damaged archive fails in many ways
        raise UploadRefused(_NONE) from error
    if len(parts) > PARTS or sum(part.file_size for part in parts) > UNPACKED:
        raise UploadRefused("unpacks to too much", "unpacks")
    found = next((kind for main, kind in _MAIN_PARTS.items() if main in types), None)
    if found is None:
        raise UploadRefused(_NONE)
    return found


def _check_list(content: bytes) -> None:
    """Look at the end of an archive, which says how long its list is: it is read whole before anything is known of it.

    Office programs write no comment after it, and need no numbers of 64 bits.
    """
    end = content[-22:]
    if len(end) < 22 or not end.startswith(_ARCHIVE_END) or content[-42:-38] == _ARCHIVE_END_64:
        raise UploadRefused(_NONE)
    if struct.unpack_from("<I", end, 12)[0] > _LIST_BYTES:
        raise UploadRefused("unpacks to too much", "unpacks")
