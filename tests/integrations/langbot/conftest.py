"""One gateway in open mode and one in token mode for all tests of this wire; every test brings its own sessions."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import Serve
from tests.support.applications import change, make_application
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

SHOP = {"Origin": "https://shop.example"}


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


@pytest.fixture
async def public(guarded: GatewayProcess) -> AsyncIterator[GatewayProcess]:
    """The gateway that wants tokens, while its pipeline is public."""

    async def is_public() -> bool:
        async with await PipelineClient.connect(guarded, headers=SHOP) as client:
            return bool(client.connected["type"] == "connected")

    change(guarded, "UPDATE conversations_pipeline SET public = 1")
    await eventually(is_public, timeout=10, what="a public pipeline")
    yield guarded
    change(guarded, "UPDATE conversations_pipeline SET public = 0")

    async def is_closed() -> bool:
        return not await is_public()

    await eventually(is_closed, timeout=10, what="a pipeline that is not public any more")


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
