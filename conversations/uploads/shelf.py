"""Uploads as this process handles them: looked at, kept and read in threads of their own, never in the loop's way.

A file is on the disk before its row is committed, and only then anybody is told of it. What is refused then is thrown
away at once; what lies there without a row, because nobody came to commit one, by a purge, as is what no message came
for. Whoever leaves meanwhile has sent it all the same: it counts.
"""

import asyncio
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Full
from typing import NamedTuple, TypeVar

import structlog
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils.crypto import salted_hmac

from conversations.jobs.uploads import PURGED_AT_ONCE, PurgeUploads, StoreUpload, UploadsFull, room_for
from conversations.lane import Lane
from conversations.store import Refused, Store, StoreFull, StoreUnavailable
from conversations.types import Upload
from conversations.uploads import images, selectors
from conversations.uploads.examining import examine
from conversations.uploads.kinds import Kind
from conversations.uploads.storage import for_model_of, key_of, place_of, places_of, thumbnail_of

log = structlog.get_logger(__name__)

R = TypeVar("R")
EXAMINERS = 1  # threads that look at files: each may hold a decoded picture
EXAMINED_NEXT = 30  # files that wait for it
FILE_READERS = 4  # threads that read
READ_NEXT = 20_000  # pieces of files that wait to be read: one a connection, and so many there are
PIECE = 256 * 1024  # bytes of a file that are read at once
TEXT_BYTES = 4  # that a character takes at most
GRACE = 3600.0  # seconds that a file may lie without a row: it may be on its way
KNOWN_AT_ONCE = 500
KEY_LENGTH = 43  # characters: 256 bits
_KEY = re.compile(rf"[A-Za-z0-9_-]{{{KEY_LENGTH}}}")
_SALT = "chatgateway.upload"


class Sent(NamedTuple):
    """A file as it was sent, under the name that its sender gave it."""

    name: str
    content: bytes


class Uploads:
    """The uploads of a deployment; `largest` bounds the bytes of one."""

    def __init__(self, store: Store, storage: Storage, *, largest: int) -> None:
        self.largest = largest
        self._store = store
        self._storage = storage
        self._keeping: set[asyncio.Task[Upload]] = set()
        self._examiners = Lane(EXAMINERS, EXAMINED_NEXT)
        self._readers = Lane(FILE_READERS, READ_NEXT)

    # --- Keeping ---------------------------------------------------------------------------------

    async def keep(
        self, read: Callable[[], Sent], kind: Kind | None, *, size: int, pipeline_id: int, address: str, key: str = ""
    ) -> Upload:
        """Keep the file that `read` gives, in a thread, and return it once committed; it has `size` bytes at most.

        Without a `key` it gets one of its own; under one that is known it is the same file. Raises UploadRefused, what
        `read` raises, UploadsFull, or a StoreError.
        """
        sender = _sender_of(address)
        if await self._store.read(room_for, sender) < min(size, self.largest):
            raise UploadsFull
        # A task of its own: who hangs up would leave bytes that nobody counts.
        keeping = asyncio.create_task(self._keep(read, kind, pipeline_id, sender, key))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._kept)
        await asyncio.wait([keeping])
        return keeping.result()

    async def _keep(
        self, read: Callable[[], Sent], kind: Kind | None, pipeline_id: int, sender: str, key: str
    ) -> Upload:
        own = key or secrets.token_urlsafe(32)
        try:
            upload = await self._run(self._examiners, partial(self._receive, read, kind, own))
            stored: Upload = await self._store.write(StoreUpload(upload, pipeline_id, sender))
        except (Refused, StoreFull, StoreUnavailable):
            if not key:  # under one that was given there may be a file already
                await self._run(self._readers, partial(self._delete, own))
            raise
        return stored

    def _kept(self, keeping: "asyncio.Task[Upload]") -> None:
        self._keeping.discard(keeping)
        if not keeping.cancelled():
            keeping.exception()  # looked at: where the asker has left, nobody else will

    async def look_at(self, read: Callable[[], R]) -> R:
        """Run `read`, which makes something of what was sent, in the thread that examines files."""
        return await self._run(self._examiners, read)

    def _receive(self, read: Callable[[], Sent], kind: Kind | None, key: str) -> Upload:
        sent = read()
        examined = examine(sent.content, sent.name, kind, largest=self.largest)
        try:
            if examined.found.thumbnail:
                self._storage.save(thumbnail_of(key), ContentFile(examined.found.thumbnail))
            self._storage.save(place_of(key), ContentFile(sent.content))
        except OSError as error:
            log.warning("upload.not_kept", reason=error.strerror)
            raise StoreUnavailable("The file cannot be kept now, please try again.") from error
        return examined.upload(key)

    # --- Reading ---------------------------------------------------------------------------------

    async def find(self, key: str) -> Upload | None:
        """Return the upload of that key, or None."""
        return await self._store.read(selectors.upload, key) if is_key(key) else None

    async def size_of_thumbnail(self, upload: Upload) -> int | None:
        """Return the bytes of a picture's thumbnail, None where there is none."""
        return await self._run(self._readers, partial(self._size, thumbnail_of(upload.key)))

    async def is_there(self, upload: Upload) -> bool:
        """Tell whether an upload's bytes are."""
        return await self._run(self._readers, partial(self._size, place_of(upload.key))) == upload.size

    async def pieces(self, upload: Upload, *, thumbnail: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield a file piece by piece. Between two nothing is held: a slow reader costs no thread and no descriptor."""
        place, start = thumbnail_of(upload.key) if thumbnail else place_of(upload.key), 0
        while piece := await self._run(self._readers, partial(self._read, place, start, PIECE)):
            yield piece
            if len(piece) < PIECE:
                return
            start += len(piece)

    async def picture(self, upload: Upload) -> bytes:
        """Return a picture as a JPEG for a model, made once; raises many kinds where it cannot be read."""
        made = await self._run(self._readers, partial(self._made, upload))
        return made or await self._run(self._examiners, partial(self._make, upload))

    async def text(self, upload: Upload, characters: int) -> str:
        """Return the beginning of a text document, nothing of one that is no text; OSError where it is gone."""
        _, _, encoding = upload.media_type.partition("; charset=")
        if not encoding:
            return ""
        content = await self._run(self._readers, partial(self._read, place_of(upload.key), 0, TEXT_BYTES * characters))
        return content.decode(encoding, "ignore").removeprefix("\ufeff")[:characters]

    def _made(self, upload: Upload) -> bytes:
        try:
            with self._storage.open(for_model_of(upload.key)) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return b""
        return content

    def _make(self, upload: Upload) -> bytes:
        content = images.for_model(self._read(place_of(upload.key), 0, upload.size))
        with suppress(OSError):  # then it is made again
            self._storage.save(for_model_of(upload.key), ContentFile(content))
        return content

    def _read(self, place: str, start: int, size: int) -> bytes:
        with self._storage.open(place) as file:
            file.seek(start)
            content: bytes = file.read(size)
        return content

    def _size(self, place: str) -> int | None:
        try:
            return self._storage.size(place)
        except FileNotFoundError:
            return None

    # --- Forgetting ------------------------------------------------------------------------------

    async def purge(self) -> None:
        """Forget what no message came for, and throw away what lies there without a row."""
        purged = PURGED_AT_ONCE
        while purged == PURGED_AT_ONCE:
            purged = await self._store.write(PurgeUploads())
        found = await self._run(self._readers, lambda: list(self._lying()))
        for start in range(0, len(found), KNOWN_AT_ONCE):
            some = found[start : start + KNOWN_AT_ONCE]
            known = await self._store.read(selectors.known_among, {key_of(place) for place in some})
            strays = [place for place in some if key_of(place) not in known]
            if strays:
                await self._run(self._readers, partial(self._throw_away, strays))

    def _lying(self) -> Iterator[str]:
        """Yield where every file lies, also what is only half of one."""
        if not self._storage.exists(""):
            return
        folders, _ = self._storage.listdir("")
        for folder in folders:
            yield from (f"{folder}/{name}" for name in self._storage.listdir(folder)[1])

    def _throw_away(self, places: list[str]) -> None:
        for place in places:
            try:
                age = time.time() - self._storage.get_modified_time(place).timestamp()
            except FileNotFoundError:
                continue
            if age > GRACE:
                self._storage.delete(place)

    def _delete(self, key: str) -> None:
        for place in places_of(key):
            with suppress(OSError):  # a purge takes what then is left
                self._storage.delete(place)

    def stop(self) -> None:
        """Wait for what runs, and end the threads."""
        self._examiners.stop()
        self._readers.stop()

    async def _run(self, lane: Lane, function: Callable[[], R]) -> R:
        try:
            return await lane.run(function, None)
        except Full as error:
            raise StoreFull("The server is busy, please try again in a moment.") from error


def is_key(text: str) -> bool:
    """Tell whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def derived_key(*names: str) -> str:
    """Return the key of what is named so: for those who have our secret key, always the same; for others, chance."""
    digest = salted_hmac(_SALT, "\0".join(names), algorithm="sha256").digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _sender_of(address: str) -> str:
    """Return what stands for an address where only sameness counts."""
    return salted_hmac(f"{_SALT}.sender", address, algorithm="sha256").hexdigest()[:32]
