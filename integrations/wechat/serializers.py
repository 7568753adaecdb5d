"""The shapes of the WeChat wire's HTTP calls, for the API's schema; `protocol` checks what comes in."""

from typing import Any

from rest_framework import serializers


class WeChatLogin(serializers.Serializer[Any]):
    """What `wx.login` gave."""

    code = serializers.CharField()


class WeChatChat(serializers.Serializer[Any]):
    """A question; `openid` names an unverified session where no session token is sent."""

    query = serializers.CharField()
    openid = serializers.CharField(required=False)
    use_auto_rag = serializers.BooleanField(required=False)


class WeChatAccount(serializers.Serializer[Any]):
    """Who has logged in; the token is the Bearer of chat calls, and re-enters the session on the socket."""

    openid = serializers.CharField()
    session_id = serializers.UUIDField()
    resume_token = serializers.CharField()
    unionid = serializers.CharField(required=False)
    session_token = serializers.CharField()


class WeChatAnswer(serializers.Serializer[Any]):
    """An answer."""

    msg = serializers.CharField()
    id = serializers.CharField()
    session_id = serializers.UUIDField()


class _Envelope(serializers.Serializer[Any]):
    code = serializers.IntegerField(help_text="0, or what went wrong; the HTTP status is always 200")
    message = serializers.CharField()


class WeChatLoginBody(_Envelope):
    """What a login answers."""

    data = WeChatAccount(allow_null=True)  # type: ignore[assignment]  # the stubs take it for the attribute


class WeChatChatBody(_Envelope):
    """What a chat call answers."""

    data = WeChatAnswer(allow_null=True)  # type: ignore[assignment]


class WeChatHealthBody(_Envelope):
    """What a health check answers."""

    timestamp = serializers.DateTimeField()
