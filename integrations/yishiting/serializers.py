"""The shapes of this wire's calls, for the API's schema; what comes in is read by `protocol.parse`."""

from typing import Any

from rest_framework import serializers

from integrations.rest import Words


class WholeQuestion(serializers.Serializer[Any]):
    """A question. What else a caller sends is not looked at."""

    content = Words()
    user = serializers.CharField(required=False)
    msg_type = serializers.ChoiceField(("text",), required=False)
    msg_id = serializers.CharField(required=False, help_text="The same one is answered once in 24 hours.")
    session_id = serializers.CharField(required=False, help_text="Names the conversation; else `user` does.")
    business_keys = serializers.ListField(child=serializers.CharField(), required=False)
    raw_msg = serializers.CharField(required=False)


class StreamedQuestion(WholeQuestion):
    """A question whose answer is streamed."""

    user = Words()
    msg_type = serializers.ChoiceField(("text",))


class Event(serializers.Serializer[Any]):
    """One event of a streamed answer; `data` is the JSON of a delta, and the last one is `finished`."""

    event = serializers.ChoiceField(("delta",))
    data = serializers.CharField(  # type: ignore[assignment]  # the event's own field; nobody asks for Serializer's
        help_text='{"response": "…", "finished": false, "global_output": {…}}'
    )


class Doc(serializers.Serializer[Any]):
    """A passage that an answer was made from."""

    doc_id = serializers.CharField()
    space_id = serializers.CharField()
    title = serializers.CharField()
    url = serializers.CharField()
    score = serializers.FloatField()


class Answer(serializers.Serializer[Any]):
    """A whole answer."""

    code = serializers.IntegerField(help_text="0")
    err_msg = serializers.CharField(help_text="Empty")
    is_async_response = serializers.BooleanField(help_text="false")
    is_recall_success = serializers.IntegerField(help_text="1 where there are recall_docs, else 0")
    recall_docs = Doc(many=True)
    msg_type = serializers.CharField(help_text="text")
    msg_content = serializers.CharField()
    third_party_trace_id = serializers.UUIDField()


class Pending(serializers.Serializer[Any]):
    """A question that was taken."""

    code = serializers.IntegerField(help_text="0")
    err_msg = serializers.CharField(help_text="Empty")
    is_async_response = serializers.BooleanField(help_text="true")
    third_party_trace_id = serializers.UUIDField()


class Found(Answer):
    """An answer that was asked for before; with the trace alone while it is to come, of one that failed why."""

    is_async_response = serializers.BooleanField(required=False, help_text="true while it is to come")
    is_recall_success = serializers.IntegerField(required=False)
    recall_docs = Doc(many=True, required=False)
    msg_type = serializers.CharField(required=False)
    msg_content = serializers.CharField(required=False)


class Refusal(serializers.Serializer[Any]):
    """What a refused call answers."""

    code = serializers.IntegerField(help_text="1")
    err_msg = serializers.CharField()
