"""Every read about uploads. Synchronous; asynchronous callers go through `Store.read`."""

from collections.abc import Collection, Sequence
from uuid import UUID

from conversations.models import Upload as UploadRow
from conversations.types import Upload
from conversations.uploads.kinds import Kind


def upload(key: str) -> Upload | None:
    """Return the upload of that key, or None."""
    row = UploadRow.objects.filter(key=key).first()
    return None if row is None else upload_value(row)


def uploads(pipeline: UUID, keys: Collection[str]) -> dict[str, Upload]:
    """Return those of a pipeline's uploads that have one of these keys, by key."""
    return {row.key: upload_value(row) for row in UploadRow.objects.filter(pipeline__uuid=pipeline, key__in=keys)}


def values_of(keys: Sequence[str]) -> tuple[Upload, ...]:
    """Return those uploads that have one of these keys, in the keys' order."""
    found = {row.key: upload_value(row) for row in UploadRow.objects.filter(key__in=keys)} if keys else {}
    return tuple(found[key] for key in keys if key in found)


def uploads_of(messages: Collection[int]) -> dict[int, tuple[Upload, ...]]:
    """Return the uploads of messages, by message."""
    found: dict[int, tuple[Upload, ...]] = {}
    for row in UploadRow.objects.filter(message__in=messages).order_by("id"):
        found[row.message_id or 0] = (*found.get(row.message_id or 0, ()), upload_value(row))
    return found


def known_among(keys: Collection[str]) -> set[str]:
    """Return those of `keys` that an upload has."""
    return set(UploadRow.objects.filter(key__in=keys).values_list("key", flat=True))


def upload_value(row: UploadRow) -> Upload:
    """Return an upload's row as a value."""
    kind: Kind = "image" if row.kind == UploadRow.Kind.IMAGE else "document"
    return Upload(row.key, kind, row.name, row.media_type, row.size, row.width, row.height)
