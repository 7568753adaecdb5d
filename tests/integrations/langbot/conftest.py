"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own sessions."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from tests.support.applications import change, make_application
from tests.support.server import GatewayProcess, Templates


@pytest.fixture(scope="module")
def gateway(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    folder = tmp_path_factory.mktemp("open")
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder))
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def guarded(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens."""
    folder = tmp_path_factory.mktemp("token")
    environment = {
        "ACCESS_MODE": "token",
        "AUTHENTICATE_TIMEOUT": "1",
        "ALLOWED_ORIGINS": "https://SHOP.example:443/",
    }
    gateway = GatewayProcess(folder, templates.copy_sqlite(folder), environment=environment)
    gateway.start()
    yield gateway
    gateway.close()


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
