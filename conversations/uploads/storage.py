"""Where the bytes of uploads lie: files of ours, named by keys. What a visitor calls his file is never a path."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage, storages
from django.db import transaction


class UploadStorage(FileSystemStorage):
    """Files that are there whole or not at all, and on the disk once they are saved."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, file_permissions_mode=0o600, directory_permissions_mode=0o700, allow_overwrite=True)

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        for folder in (path.parent, path.parent.parent):
            _sync(folder)
        return name


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_of(key: str) -> str:
    """Return where an upload lies."""
    return f"{key[:2]}/{key}"


def thumbnail_of(key: str) -> str:
    """Return where a picture's thumbnail lies."""
    return f"{place_of(key)}.webp"


def for_model_of(key: str) -> str:
    """Return where a picture lies as models are shown it, once one was."""
    return f"{place_of(key)}.jpg"


def places_of(key: str) -> tuple[str, ...]:
    """Return every place where bytes of an upload may lie."""
    return place_of(key), thumbnail_of(key), for_model_of(key)


def key_of(place: str) -> str:
    """Return the key of what lies somewhere."""
    return place.rpartition("/")[2].partition(".")[0]


def forget(*, instance: Any, **_signal: Any) -> None:
    """Delete the bytes of an upload whose row is deleted, once that is committed; a purge takes what then is left."""
    transaction.on_commit(lambda: _delete(instance.key), robust=True)


def _delete(key: str) -> None:
    storage = storages["uploads"]
    for place in places_of(key):
        storage.delete(place)
