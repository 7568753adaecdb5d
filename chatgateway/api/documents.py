"""The calls about a pipeline's documents. They need admin scope; in open mode everybody has it."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as drf
from rest_framework.request import Request
from rest_framework.response import Response

from chatgateway.api import serializers
from connections.auth import Scope
from conversations import selectors, services
from conversations.drafts import DocumentError
from conversations.selectors import StoredDocument
from conversations.store import patient
from integrations.errors import WireError
from integrations.langbot.protocol import stamp
from integrations.langbot.views import PipelineView
from integrations.rest import PIPELINE_UUID, StrictJSONParser, operation, success

P = ParamSpec("P")
R = TypeVar("R")

DOCUMENT_UUID = OpenApiParameter("document_uuid", OpenApiTypes.UUID, OpenApiParameter.PATH)
TAGS = ["documents"]


class DocumentParser(StrictJSONParser):
    """Takes a whole document, also where every character of it is escaped."""

    limit = 4 * serializers.MAX_TEXT_BYTES


class DocumentCall(PipelineView):
    """A call about the documents of one pipeline."""

    parser_classes = (DocumentParser,)

    async def pipeline_of(self, request: Request, pipeline_uuid: str) -> UUID:
        """Return the pipeline's UUID, once the caller may see to its documents."""
        _, pipeline = await self.pipeline_for(request, pipeline_uuid, Scope.ADMIN)
        return pipeline.uuid

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a service in a database thread; what it refuses is the caller's error."""
        try:
            return await self.parts.store.read(function, *args, **kwargs)
        except services.DocumentMissing as error:
            raise _missing() from error
        except DocumentError as error:
            raise WireError(str(error)) from error


class DocumentsView(DocumentCall):
    """The documents of a pipeline."""

    @operation(
        "list_documents",
        "Documents of a pipeline, by UUID",
        serializers.Documents,
        parameters=[PIPELINE_UUID, serializers.DocumentsQuery],
        tags=TAGS,
    )
    async def get(self, request: Request, pipeline_uuid: str) -> Response:
        """Return a page of the list, without the texts."""
        pipeline = await self.pipeline_of(request, pipeline_uuid)
        query = _checked(serializers.DocumentsQuery, request.query_params)
        limit = query["limit"]
        found = await self.run(selectors.documents, pipeline, after=query.get("after"), limit=limit + 1)
        page = found[:limit]
        following = str(page[-1].uuid) if len(found) > limit else None
        return success({"documents": [_row(document) for document in page], "next": following})

    @operation(
        "create_document",
        "Add a document",
        serializers.Document,
        status=201,
        request=serializers.NewDocument,
        parameters=[PIPELINE_UUID],
        tags=TAGS,
    )
    async def post(self, request: Request, pipeline_uuid: str) -> Response:
        """Add a document; answers know it about a second later, in every process."""
        pipeline = await self.pipeline_of(request, pipeline_uuid)
        fields = _checked(serializers.NewDocument, request.data)
        response = success(_whole(await self.run(_save, pipeline, **fields)))
        response.status_code = 201
        return response


class DocumentView(DocumentCall):
    """One document."""

    @operation("get_document", "A document", serializers.Document, parameters=[PIPELINE_UUID, DOCUMENT_UUID], tags=TAGS)
    async def get(self, request: Request, pipeline_uuid: str, document_uuid: str) -> Response:
        """Return a document with its text."""
        pipeline = await self.pipeline_of(request, pipeline_uuid)
        found = await self.run(selectors.document, pipeline, _uuid(document_uuid))
        if found is None:
            raise _missing()
        return success(_whole(found))

    @operation(
        "replace_document",
        "Replace a document",
        serializers.Document,
        request=serializers.WholeDocument,
        parameters=[PIPELINE_UUID, DOCUMENT_UUID],
        tags=TAGS,
    )
    async def put(self, request: Request, pipeline_uuid: str, document_uuid: str) -> Response:
        """Write a document anew; with what is there already nothing changes."""
        pipeline = await self.pipeline_of(request, pipeline_uuid)
        uuid = _uuid(document_uuid)
        fields = _checked(serializers.WholeDocument, request.data)
        return success(_whole(await self.run(_save, pipeline, document=uuid, **fields)))

    @operation(
        "delete_document",
        "Delete a document",
        serializers.Deleted,
        parameters=[PIPELINE_UUID, DOCUMENT_UUID],
        tags=TAGS,
    )
    async def delete(self, request: Request, pipeline_uuid: str, document_uuid: str) -> Response:
        """Delete a document; answers forget it about a second later."""
        pipeline = await self.pipeline_of(request, pipeline_uuid)
        if not await self.run(services.delete_documents, pipeline, [_uuid(document_uuid)]):
            raise _missing()
        return success({"message": "Document deleted successfully"})


@patient  # given up, it would be written all the same
def _save(pipeline: UUID, **fields: Any) -> StoredDocument:
    uuid = services.save_document(pipeline, **fields)
    document = selectors.document(pipeline, uuid)
    if document is None:  # somebody deleted it meanwhile
        raise services.DocumentMissing
    return document


def _row(document: StoredDocument) -> dict[str, Any]:
    return {
        "uuid": str(document.uuid),
        "title": document.title,
        "space": document.space,
        "url": document.url,
        "created_at": stamp(document.created_at),
        "updated_at": stamp(document.updated_at),
    }


def _whole(document: StoredDocument) -> dict[str, Any]:
    return {**_row(document), "text": document.text}


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _missing() from None


def _missing() -> WireError:
    """Return the one answer for a document that is not there, malformed, or another pipeline's."""
    return WireError("Document not found", status=404)


def _checked(kind: type[drf.Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer = kind(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
