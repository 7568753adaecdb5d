"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own sessions."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.conftest import Serve
from tests.support.applications import change, make_application
from tests.support.server import GatewayProcess


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve(LOCK_TIMEOUT="2") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    with serve(ACCESS_MODE="token", AUTHENTICATE_TIMEOUT="2", ALLOWED_ORIGINS="https://SHOP.example:443/") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def make_token(guarded: GatewayProcess) -> "TokenMaker":
    """A function that makes an application and returns a token of it."""
    return TokenMaker(guarded)


class TokenMaker:
    """Makes tokens of a gateway, each of an application of its own."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway

    def __call__(self, *, scopes: str = "read,write", pipeline: str | None = None) -> str:
        return make_application(self._gateway, scopes=scopes, pipeline=pipeline).token

    def revoke_all(self) -> None:
        """Revoke every token there is, as the admin's action does."""
        change(self._gateway, "UPDATE connections_accesstoken SET revoked_at = datetime('now')")

    def narrow(self, token: str, *scopes: str) -> None:
        """Leave a token these scopes."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        words = json.dumps(scopes)
        change(self._gateway, "UPDATE connections_accesstoken SET scopes = ? WHERE digest = ?", words, digest)
