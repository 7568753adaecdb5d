"""A form with one file in it, as browsers send it: read in a thread, and no more of it than is taken."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.parsers import BaseParser

from conversations.uploads.shelf import Sent
from integrations.errors import WireError
from integrations.rest import BodyTooLarge

FIELD = "file"
BESIDE = 16 * 1024  # bytes of a form beside its file
MISSING = f"{FIELD} is required"


class Form(NamedTuple):
    """A form that is not read yet."""

    stream: Any
    meta: Mapping[str, Any]

    def file(self, largest: int) -> Sent:
        """Return the file in the field `file`; raise BodyTooLarge or WireError. Takes its time: not for the loop."""
        handler = _OneFile(largest)
        try:
            MultiPartParser(self.meta, self.stream, [handler]).parse()
        except (MultiPartParserError, SuspiciousOperation, OSError) as error:
            raise WireError("Invalid multipart form") from error
        if handler.too_large:
            raise BodyTooLarge
        if handler.sent is None:
            raise WireError(MISSING)
        return handler.sent


class FormParser(BaseParser):
    """Leaves a form for the view to read."""

    media_type = "multipart/form-data"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Return the form as it is."""
        assert parser_context is not None
        return Form(stream, parser_context["request"].META)


class _OneFile(FileUploadHandler):
    """Keeps the first file of the field, up to a bound; nothing of other fields."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.sent: Sent | None = None
        self.too_large = False
        self._largest = largest
        self._content = bytearray()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.field_name != FIELD or self.sent is not None:
            raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._content += raw_data
        if len(self._content) > self._largest:
            self.too_large = True
            raise StopUpload(connection_reset=True)

    def file_complete(self, file_size: int) -> None:
        self.sent = Sent(self.file_name or "", bytes(self._content))
