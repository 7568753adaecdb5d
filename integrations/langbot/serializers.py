"""The shapes of the pipeline wire's REST calls, for checking what comes in and for the API's schema."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from conversations.types import Outcome
from integrations.rest import Words

SESSION_TYPES = ("person", "group")
OUTCOMES = tuple(outcome.value for outcome in Outcome)


class HistoryQuery(serializers.Serializer[Any]):
    """Which messages to return."""

    session_id = Words(required=False, max_length=100)
    resume_token = Words(required=False, max_length=128)
    after_seq = serializers.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
    before_seq = serializers.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
    limit = serializers.IntegerField(required=False, default=100, min_value=1, max_value=500)
    rich = serializers.ChoiceField(("1",), required=False, help_text="With `html`, `outcome` and what else pages show.")


class ResetQuery(serializers.Serializer[Any]):
    """Which session to reset."""

    session_id = Words(required=False, max_length=100)
    resume_token = Words(required=False, max_length=128)


class SessionQuery(ResetQuery):
    """Which session is meant."""

    session_id = Words(max_length=100)


class Feedback(serializers.Serializer[Any]):
    """What the visitor thinks of an answer; null for nothing any more."""

    message_id = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    value = serializers.ChoiceField(("up", "down"), allow_null=True)


@extend_schema_field({"not": {"enum": [None, "", [], {}]}})
class _Anything(serializers.JSONField):
    """Any JSON, but something."""


class Broadcast(serializers.Serializer[Any]):
    """What to tell every socket of a pipeline, or only those of one session type."""

    message = _Anything()
    session_type = serializers.ChoiceField(SESSION_TYPES, required=False)


class Citation(serializers.Serializer[Any]):
    """A passage that an answer was made from."""

    doc_id = serializers.CharField()
    space_id = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField()
    score = serializers.FloatField()


class Speaker(serializers.Serializer[Any]):
    """Who spoke, where it was neither the visitor nor the bot."""

    kind = serializers.CharField()
    name = serializers.CharField()


class Message(serializers.Serializer[Any]):
    """A message as it is in the wire's frames."""

    id = serializers.IntegerField()
    role = serializers.ChoiceField(("user", "assistant"))
    content = serializers.CharField()
    message_chain = serializers.ListField(child=serializers.DictField())
    timestamp = serializers.DateTimeField()
    is_final = serializers.BooleanField()
    connection_id = serializers.CharField()
    seq = serializers.IntegerField()
    citations = Citation(many=True, required=False)
    sender = Speaker(required=False)
    html = serializers.CharField(required=False, help_text="With `rich`: the content as safe HTML.")
    outcome = serializers.ChoiceField(OUTCOMES, required=False, help_text="With `rich`: how the answer ended.")
    client_msg_id = serializers.CharField(required=False, help_text="With `rich`: the sender's own id of it.")
    feedback = serializers.ChoiceField(("up", "down"), required=False, help_text="With `rich`: what was thought of it.")
    called = serializers.BooleanField(required=False, help_text="With `rich`: it only says that a person was told.")


class Messages(serializers.Serializer[Any]):
    """A history."""

    messages = Message(many=True)


class Done(serializers.Serializer[Any]):
    """What was done."""

    message = serializers.CharField()


class BroadcastDone(Done):
    """What was done, and how many sockets it reaches."""

    recipients = serializers.IntegerField()


class Statistics(serializers.Serializer[Any]):
    """Live connections of the whole deployment."""

    total_connections = serializers.IntegerField()
    pipelines = serializers.IntegerField()
    connections_by_pipeline = serializers.DictField(child=serializers.IntegerField())
    connections_by_session_type = serializers.DictField(child=serializers.IntegerField())


class Connection(serializers.Serializer[Any]):
    """A live connection."""

    connection_id = serializers.UUIDField()
    session_type = serializers.ChoiceField(SESSION_TYPES)
    created_at = serializers.DateTimeField()
    last_active = serializers.DateTimeField()
    is_active = serializers.BooleanField()


class Connections(serializers.Serializer[Any]):
    """The statistics, and the connections of one pipeline."""

    stats = Statistics()
    connections = Connection(many=True)


class Pipeline(serializers.Serializer[Any]):
    """A pipeline as a client may choose it."""

    uuid = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.BooleanField()


class Pipelines(serializers.Serializer[Any]):
    """The pipelines there are."""

    pipelines = Pipeline(many=True)


@extend_schema_field(OpenApiTypes.BINARY)
class _Bytes(serializers.Field[Any, Any, Any, Any]):
    """A file in a form."""


class FileForm(serializers.Serializer[Any]):
    """A form with a file."""

    file = _Bytes()


class UploadedDocument(serializers.Serializer[Any]):
    """A document as it is kept: `file_id` names it in a message, `url` is where it is read."""

    file_id = serializers.CharField()
    url = serializers.CharField()
    name = serializers.CharField()
    size = serializers.IntegerField()


class UploadedImage(serializers.Serializer[Any]):
    """A picture as it is kept: `file_key` names it in a message, `url` is where it is read."""

    file_key = serializers.CharField()
    url = serializers.CharField()
    name = serializers.CharField()
    size = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
