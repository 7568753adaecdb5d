"""Files come in before the message that they belong to: kept for a while, attached by it, else forgotten."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import ClassVar, NamedTuple

import msgspec
from django.db.models import Count, Q, Sum
from django.utils import timezone

from conversations import rows
from conversations.models import Upload as UploadRow
from conversations.store import Job, Refused
from conversations.types import Upload
from conversations.uploads.selectors import upload_value

WAITING_BYTES = 1024 * 1024 * 1024  # of uploads that no message has, of the whole deployment
WAITING_BYTES_OF_ADDRESS = 128 * 1024 * 1024
OVERHEAD = 64 * 1024  # bytes that each counts for beside its own
KEPT_FOR = timedelta(hours=24)  # without a message
PURGED_AT_ONCE = 200


class UploadsFull(Refused):
    """Too much was sent that no message has yet."""

    def __init__(self) -> None:
        super().__init__("Too many files wait to be sent with a message, please try again later.")


class UploadTaken(Refused):
    """The file was sent in another conversation, or with another reply, or has been forgotten meanwhile."""


class StoreUpload(Job, msgspec.Struct, frozen=True):
    """Note a file whose bytes are kept; the result is the Upload, of that key as it was stored first.

    Refused as UploadsFull.
    """

    rank: ClassVar[int] = 4  # before the question that names it
    upload: Upload
    pipeline_id: int
    sender: str

    @classmethod
    def apply(cls, jobs: Sequence["StoreUpload"]) -> Sequence[Upload | Refused]:
        """Note all `jobs`, as far as there is room."""
        known = {
            row.key: upload_value(row) for row in UploadRow.objects.filter(key__in=[job.upload.key for job in jobs])
        }
        room = WAITING_BYTES - _waiting(Q())
        rooms = {
            sender: WAITING_BYTES_OF_ADDRESS - _waiting(Q(sender=sender)) for sender in {job.sender for job in jobs}
        }
        new: list[UploadRow] = []
        results: list[Upload | Refused] = []
        for job in jobs:
            upload, size = job.upload, job.upload.size + OVERHEAD
            if upload.key not in known:
                if size > min(room, rooms[job.sender]):
                    results.append(UploadsFull())
                    continue
                room -= size
                rooms[job.sender] -= size
                known[upload.key] = upload
                new.append(job.row())
            results.append(known[upload.key])
        # Two workers may be sent the same at once.
        UploadRow.objects.bulk_create(new, ignore_conflicts=True)
        return results

    def row(self) -> UploadRow:
        """Return the row."""
        fields = msgspec.structs.asdict(self.upload)
        return UploadRow(pipeline_id=self.pipeline_id, sender=self.sender, created_at=timezone.now(), **fields)


class PurgeUploads(Job, msgspec.Struct, frozen=True):
    """Forget files that no message came for within KEPT_FOR; the result counts them. Their bytes go with the rows."""

    rank: ClassVar[int] = 98

    @classmethod
    def apply(cls, jobs: Sequence["PurgeUploads"]) -> Sequence[int]:
        """Forget the oldest."""
        waiting = UploadRow.objects.filter(message__isnull=True)
        old = waiting.filter(created_at__lt=timezone.now() - KEPT_FOR).order_by("created_at")
        # Locked: a message may come for one at this moment, and then it stays.
        oldest = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PURGED_AT_ONCE])
        _, gone = UploadRow.objects.filter(pk__in=oldest).delete()
        return [gone.get(UploadRow._meta.label, 0)] * len(jobs)


class _Found(NamedTuple):
    id: int
    pipeline: int
    session: int | None  # that it was sent in


class Attaching:
    """The uploads that a batch of messages names, locked, and what becomes of them."""

    def __init__(self, named: Iterable[Sequence[str]]) -> None:
        keys = {key for some in named for key in some}
        self._found: Mapping[str, _Found] = _lock(keys) if keys else {}
        self._of: dict[int, int] = {}  # message by upload
        self._sessions: dict[int, int] = {}

    def refusal(self, keys: Sequence[str], pipeline: int, session: int, *, anew: bool = False) -> Refused | None:
        """Return why files cannot be those of a message in a session, or None; `anew` none that was sent before."""
        for key in keys:
            found = self._found.get(key)
            if found is None or found.pipeline != pipeline:
                return UploadTaken("An attached file is not there any more, please send it again.")
            if self._sessions.get(found.id, found.session) not in (None, session):
                return UploadTaken("An attached file was sent in another conversation already.")
            if anew and (found.session is not None or found.id in self._of):
                return UploadTaken("An attached file was sent with another message already, please attach it again.")
        return None

    def attach(self, keys: Sequence[str], session: int, message: int) -> None:
        """Have a message own its files; one that was sent in this session before stays with the message before."""
        for key in keys:
            found = self._found[key]
            if self._sessions.setdefault(found.id, found.session or session) == session and found.session is None:
                self._of.setdefault(found.id, message)

    def write(self) -> None:
        """Note it, once the messages are stored."""
        rows.update(UploadRow, ("message",), [(message, id_) for id_, message in self._of.items()], where=("id",))


def _lock(keys: Iterable[str]) -> dict[str, _Found]:
    found = UploadRow.objects.filter(key__in=keys).order_by("id").select_for_update(of=("self",))
    return {key: _Found(*rest) for key, *rest in found.values_list("key", "id", "pipeline_id", "message__session_id")}


def room_for(sender: str) -> int:
    """Return the bytes that one more file of a sender may have."""
    room = min(WAITING_BYTES - _waiting(Q()), WAITING_BYTES_OF_ADDRESS - _waiting(Q(sender=sender)))
    return room - OVERHEAD


def _waiting(whose: Q) -> int:
    """Return how many bytes wait for a message."""
    found = UploadRow.objects.filter(whose, message__isnull=True).aggregate(count=Count("pk"), size=Sum("size"))
    return int(found["size"] or 0) + OVERHEAD * int(found["count"])
