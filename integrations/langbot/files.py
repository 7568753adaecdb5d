"""The pipeline wire's uploads over HTTP: sent before the message that names them, read by whoever has their key."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from connections.auth import Principal, Scope
from conversations.responders.base import PipelineConfig
from conversations.types import Upload
from conversations.uploads.kinds import SUFFIXES, Kind, UploadRefused
from integrations.access import pipeline_of
from integrations.attached import url_of
from integrations.errors import WireError
from integrations.langbot import serializers
from integrations.langbot.views import PipelineView
from integrations.limiting import admit_call, admit_upload
from integrations.multipart import BESIDE, FIELD, MISSING, Form, FormParser
from integrations.peers import Peer
from integrations.rest import BodyTooLarge, Failure, WireView, operation, refusals, success

TAGS = ["files"]
PIPELINE_QUERY = OpenApiParameter(
    "pipeline_uuid", OpenApiTypes.UUID, description="Whose pipeline it is for; a visitor names a public one."
)
KEY = OpenApiParameter("key", OpenApiTypes.STR, OpenApiParameter.PATH, pattern="^[A-Za-z0-9_-]{43}$")
FOR_EVER = "private, max-age=31536000, immutable"  # under a key there is one file only
THUMBNAIL_TYPE = "image/webp"


class UploadView(PipelineView):
    """A call that takes a file."""

    parser_classes: Sequence[type[BaseParser]] = (FormParser,)
    kind: ClassVar[Kind]

    async def uploader(self, request: Request) -> tuple[Principal, PipelineConfig]:
        """Return who sends a file, and for which pipeline; as for asking a question."""
        named = request.query_params.get("pipeline_uuid")
        if named is None:
            principal = await self.caller(request, Scope.WRITE)
            return principal, pipeline_of(self.parts, principal)
        return await self.visitor_for(request, named) or await self.pipeline_for(request, named, Scope.WRITE)

    async def keep(self, request: Request) -> Upload:
        """Keep the file in a call's form."""
        principal, pipeline = await self.uploader(request)
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]
        uploads = self.parts.uploads
        length = _length(request)
        if length > uploads.largest + BESIDE:
            raise BodyTooLarge
        form: Any = request.data
        if not isinstance(form, Form):  # there was no body
            raise WireError(MISSING)
        await admit_upload(self.parts, principal, peer)
        try:
            return await uploads.keep(
                lambda: form.file(uploads.largest),
                self.kind,
                size=length,
                pipeline_id=pipeline.id,
                address=peer.network,
            )
        except UploadRefused as error:
            raise WireError(f"{FIELD} {error}", reason=error.reason) from error


class ImagesView(UploadView):
    """Pictures come in."""

    kind = "image"

    @operation(
        "upload_image",
        "Send a picture: JPEG, PNG, GIF or WebP",
        serializers.UploadedImage,
        request={"multipart/form-data": serializers.FileForm},
        parameters=[PIPELINE_QUERY],
        tags=TAGS,
    )
    async def post(self, request: Request) -> Response:
        """Keep a picture; a component of a message names it by its key, as `path`."""
        upload = await self.keep(request)
        return success({"file_key": upload.key, **_described(upload), "width": upload.width, "height": upload.height})


class DocumentsView(UploadView):
    """Documents come in."""

    kind = "document"

    @operation(
        "upload_document",
        "Send a document: PDF, TXT, MD, CSV, DOCX, XLSX or PPTX",
        serializers.UploadedDocument,
        request={"multipart/form-data": serializers.FileForm},
        parameters=[PIPELINE_QUERY],
        tags=TAGS,
    )
    async def post(self, request: Request) -> Response:
        """Keep a document; a component of a message names it by its key, as `path`."""
        upload = await self.keep(request)
        return success({"file_id": upload.key, **_described(upload)})


class _ReadView(WireView):
    """A call that gives a file to whoever has its key."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        """Leave open what is accepted: there is one form of a file."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    async def upload_of(self, request: Request, key: str) -> Upload:
        """Return the upload of a key."""
        await self.parts.ready()
        await admit_call(self.parts, Peer(request.scope, self.parts.options.trusted_proxies))  # type: ignore[attr-defined]
        upload = await self.parts.uploads.find(key)
        if upload is None:
            raise missing()
        return upload

    def serve(self, request: Request, pieces: AsyncIterator[bytes], media_type: str, size: int) -> HttpResponseBase:
        """Return a file, which nothing that is in it can make more than a file."""
        # A stream that is left before it began holds nothing.
        response: HttpResponseBase = (
            HttpResponse(content_type=media_type)
            if request.method == "HEAD"
            else StreamingHttpResponse(pieces, content_type=media_type)
        )
        response["Content-Length"] = str(size)
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        response["Cross-Origin-Resource-Policy"] = "cross-origin"  # the widget shows pictures in others' pages
        response["Referrer-Policy"] = "no-referrer"  # the address is the key
        response["Cache-Control"] = FOR_EVER
        return response


class FileView(_ReadView):
    """A file."""

    @extend_schema(
        operation_id="get_file",
        summary="A file: pictures to be shown, all others to be saved",
        parameters=[KEY],
        responses={
            **{(200, media_type): OpenApiTypes.BINARY for media_type in SUFFIXES},
            **refusals(Failure),
        },
        tags=TAGS,
    )
    async def get(self, request: Request, key: str) -> HttpResponseBase:
        """Return a file as it was sent."""
        upload = await self.upload_of(request, key)
        if not await self.parts.uploads.is_there(upload):
            raise missing()
        response = self.serve(request, self.parts.uploads.pieces(upload), upload.media_type, upload.size)
        as_attachment = upload.kind != "image"
        response["Content-Disposition"] = content_disposition_header(as_attachment, upload.name) or "inline"
        return response


class ThumbnailView(_ReadView):
    """A small picture of a picture."""

    @extend_schema(
        operation_id="get_thumbnail",
        summary="A picture made small, at most 480 pixels a side",
        parameters=[KEY],
        responses={(200, THUMBNAIL_TYPE): OpenApiTypes.BINARY, **refusals(Failure)},
        tags=TAGS,
    )
    async def get(self, request: Request, key: str) -> HttpResponseBase:
        """Return the thumbnail of a picture."""
        upload = await self.upload_of(request, key)
        size = await self.parts.uploads.size_of_thumbnail(upload)
        if size is None:
            raise missing()
        pieces = self.parts.uploads.pieces(upload, thumbnail=True)
        return self.serve(request, pieces, THUMBNAIL_TYPE, size)


def missing() -> WireError:
    """Return the one answer for a file that is not there, was forgotten, or never was."""
    return WireError("File not found", status=404)


def _described(upload: Upload) -> dict[str, Any]:
    return {"url": url_of(upload.key), "name": upload.name, "size": upload.size}


def _length(request: Request) -> int:
    """Return the bytes of a call's body."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isdigit() else 0
