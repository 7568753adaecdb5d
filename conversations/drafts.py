"""Documents as they come, typed or from a folder, before they are stored: read and checked. No database."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from conversations.knowledge import passages

DOCUMENT_ENDINGS = (".md", ".markdown", ".txt")
MAX_DOCUMENT_BYTES = 5 * 1024 * 1024


class DocumentError(ValueError):
    """A document or folder that cannot be taken; `str()` is one sentence for a person."""


class Draft(msgspec.Struct, frozen=True):
    """A document as it is to be."""

    title: str
    text: str
    url: str
    path: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.title}\0{self.url}\0{self.text}".encode()).hexdigest()


def check_space(space: str) -> None:
    """Raise DocumentError where that is no name of a space."""
    if not space or len(space) > 100 or not _is_storable(space):
        raise DocumentError("The space must be a name of 1 to 100 characters.")


def fault_of(draft: Draft) -> str:
    """Say what is wrong with a document, or nothing."""
    if not draft.text.strip():
        return "it is empty"
    if not all(map(_is_storable, (draft.text, draft.title, draft.url, draft.path))):
        return "it contains a NUL or half a character"
    if not draft.title or len(draft.title) > 300:
        return "its title must have 1 to 300 characters"
    if len(draft.url) > 1000:
        return "its address is longer than 1000 characters"
    if draft.url and urlsplit(draft.url).scheme not in {"", "http", "https"}:
        return "its address must begin with http:// or https://, or be a path"
    if len(draft.path) > 500:
        return "its path is longer than 500 characters"
    if len(draft.text.encode()) > MAX_DOCUMENT_BYTES:
        return f"it is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB"
    return ""


def _is_storable(text: str) -> bool:
    """Tell whether every database takes a text: no NUL, and no half of a surrogate pair."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def read_folder(folder: Path, url_base: str) -> tuple[dict[str, Draft], dict[str, str]]:
    """Return the documents of a folder, and why each other file was left out, both by path below it."""
    if not folder.is_dir():
        raise DocumentError(f"{folder} is not a folder.")
    drafts: dict[str, Draft] = {}
    skipped: dict[str, str] = {}
    for file in _files(folder):
        path = file.relative_to(folder).as_posix()
        found = _read_file(file, path, url_base)
        if isinstance(found, Draft):
            drafts[path] = found
        else:
            skipped[path] = found
    return drafts, skipped


def _files(folder: Path) -> Iterable[Path]:
    """Yield the document files below a folder, in order; DocumentError where a folder cannot be read."""

    def fail(error: OSError) -> None:
        # Going on would take its documents for gone.
        raise DocumentError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            if name.startswith(".") or not name.lower().endswith(DOCUMENT_ENDINGS):
                continue
            # A link that leads out of the folder would publish whatever lies there.
            if file.resolve().is_relative_to(folder.resolve()):
                yield file


def _read_file(file: Path, path: str, url_base: str) -> Draft | str:
    """Return a file as a document, or the reason why it cannot be one."""
    try:
        if file.stat().st_size > MAX_DOCUMENT_BYTES:
            return f"it is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB"
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        return "it is not UTF-8"
    if not _is_storable(path):
        return "its name is not UTF-8"
    title = (passages.first_heading(text) or file.stem)[:300].strip()
    url = f"{url_base.rstrip('/')}/{quote(path)}" if url_base else ""
    draft = Draft(title=title, text=text, url=url, path=path)
    return fault_of(draft) or draft
