"""Files that an operator sends: kept before the reply that names them, as visitors' files are."""

from typing import Any
from urllib.parse import unquote
from uuid import UUID

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_POST

from chatgateway.desk.guard import for_operators, operator_of
from chatgateway.pages.strings import chat_strings
from conversations.desk import pipeline_to_reply_in
from conversations.types import Upload
from conversations.uploads.kinds import UploadRefused
from conversations.uploads.shelf import Sent
from integrations.errors import WireError, fault_of
from integrations.limiting import UPLOAD, UPLOADS, admit
from integrations.parts import Parts

NAME = "X-File-Name"  # percent-encoded; in the address it would stand in logs


def file_view(parts: Parts) -> Any:
    """Return the view that keeps a file for a conversation."""

    async def keep(request: HttpRequest, pipeline: int, operator: int) -> Upload:
        # Read in the thread that looks at it. A form would be read whole by whoever looks for its token.
        def read() -> Sent:
            return Sent(unquote(request.headers.get(NAME, "")), request.read(parts.uploads.largest + 1))

        sender = f"operator {operator}"
        await parts.ready()
        await admit(parts.limiter, UPLOADS, UPLOAD, sender)
        size = min(_length(request), parts.uploads.largest)
        return await parts.uploads.keep(read, None, size=size, pipeline_id=pipeline, address=sender)

    @for_operators
    @require_POST
    def keep_file(request: HttpRequest, session: UUID) -> HttpResponse:
        """Keep the file that is a call's body; answer with what is known of it, or with `{"error", "reason"}`."""
        operator = operator_of(request).pk
        try:
            upload = async_to_sync(keep)(request, pipeline_to_reply_in(session, operator), operator)
        except UploadRefused as error:
            status = 413 if error.reason == "large" else 400
            return _refused(WireError(f"The file {error}.", status=status, reason=error.reason))
        except Exception as error:
            if not fault_of(error).expected:
                raise
            return _refused(error)
        return JsonResponse({"key": upload.key, "kind": upload.kind, "name": upload.name, "size": upload.size})

    return keep_file


def words_about_files() -> dict[str, str]:
    """Return the chat's words, and what is said of files at the desk only."""
    return {
        **chat_strings(),
        "files_as_links": "The visitor gets the files as links.",
        "files_as_names": "The visitor gets the names of the files only: PUBLIC_URL is not set.",
        "files_not_noted": "Files go with a reply, not with a note.",
    }


def _refused(error: Exception) -> HttpResponse:
    fault = fault_of(error)
    return JsonResponse({"error": fault.message, "reason": fault.reason}, status=fault.status)


def _length(request: HttpRequest) -> int:
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else 0
