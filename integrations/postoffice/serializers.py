"""The token service's shapes, for the API's schema."""

from typing import Any

from rest_framework import serializers


class Credentials(serializers.Serializer[Any]):
    """An application and its secret."""

    appid = serializers.CharField()
    secret = serializers.CharField()


class Token(serializers.Serializer[Any]):
    """A bearer token."""

    expires = serializers.IntegerField(help_text="When it expires, in milliseconds since 1970.")
    token = serializers.CharField()
    ttl = serializers.IntegerField(help_text="Seconds until then.")


class TokenFailure(serializers.Serializer[Any]):
    """Why there is none."""

    error = serializers.CharField()
