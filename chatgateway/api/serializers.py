"""The shapes of the calls about documents, for checking what comes in and for the API's schema."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.fields import NOT_BLANK
from integrations.rest import Words

MAX_TEXT_BYTES = 1024 * 1024
PAGE = 50
LARGEST_PAGE = 200


@extend_schema_field({"type": "string", "pattern": NOT_BLANK})
class Text(serializers.CharField):
    """A document's text; whoever takes it says what is wrong with it."""


class DocumentsQuery(serializers.Serializer[Any]):
    """Which page of the list."""

    limit = serializers.IntegerField(required=False, default=PAGE, min_value=1, max_value=LARGEST_PAGE)
    after = serializers.UUIDField(required=False, help_text="The `next` of the page before.")


class NewDocument(serializers.Serializer[Any]):
    """A document to add."""

    title = Words(max_length=300)
    text = Text(trim_whitespace=False, help_text="Markdown or plain, at most 1 MiB in UTF-8.")
    space = Words(required=False, default="default", max_length=100)
    url = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=1000, help_text="Where a reader finds the original."
    )

    def validate_text(self, text: str) -> str:
        """Refuse a text that is too long."""
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise serializers.ValidationError("must have at most 1 MiB")
        return text


class WholeDocument(NewDocument):
    """A document as it is to be; its space must be named, so that it leaves none by oversight."""

    space = Words(max_length=100)


class ListedDocument(serializers.Serializer[Any]):
    """A document without its text."""

    uuid = serializers.UUIDField()
    title = serializers.CharField()
    space = serializers.CharField()
    url = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class Document(ListedDocument):
    """A document."""

    text = serializers.CharField()


class Documents(serializers.Serializer[Any]):
    """A page of the list; `next` is the `after` of the following page, null on the last."""

    documents = ListedDocument(many=True)
    next = serializers.UUIDField(allow_null=True)


class Deleted(serializers.Serializer[Any]):
    """What was done."""

    message = serializers.CharField()
