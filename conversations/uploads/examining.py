"""What an upload is, by its content: the name and the type that its sender gives it prove nothing."""

import msgspec

from conversations.types import Upload
from conversations.uploads import documents, images, names
from conversations.uploads.kinds import SUFFIXES, Found, Kind, UploadRefused


class Examined(msgspec.Struct, frozen=True):
    """A file that may be kept, and the small picture that stands for it where it is one."""

    name: str
    found: Found
    size: int

    def upload(self, key: str) -> Upload:
        """Return it as it is stored under a key."""
        found = self.found
        return Upload(key, found.kind, self.name, found.media_type, self.size, found.width, found.height)


def examine(content: bytes, name: str, kind: Kind | None, *, largest: int) -> Examined:
    """Return what a file is; raise UploadRefused where it is none of `kind`, of either kind without one."""
    if not content:
        raise UploadRefused("is empty", "empty")
    if len(content) > largest:
        raise UploadRefused(f"is larger than {largest} bytes", "large")
    name = names.clean(name)
    if kind == "image" or (kind is None and images.looks_like_one(content)):
        found = images.examine(content)
    else:
        found = documents.examine(content, name)
    return Examined(names.with_suffix(name, SUFFIXES[found.media_type.partition(";")[0]], _KNOWN), found, len(content))


_KNOWN = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
