"""The contact wire in token mode: a token, or a visitor of a public pipeline from a page that is listed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.integrations.contact.conftest import query
from tests.integrations.langbot.conftest import TokenMaker
from tests.support.contact import ContactClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

BLOG = {"Origin": "https://blog.example"}


@pytest.fixture(scope="module")
def make_token(guarded: GatewayProcess) -> TokenMaker:
    """A function that makes an application and returns a token of it."""
    return TokenMaker(guarded)


@pytest.mark.parametrize("ways", [{}, {"token": "wrong"}, {"headers": BLOG}, {"client_id": "x", "resume_token": "y"}])
async def test_a_stranger_is_told_nothing_but_that(guarded: GatewayProcess, ways: dict[str, Any]) -> None:
    async with await ContactClient.connect(guarded, **ways) as client:
        assert (client.established["type"], client.established["message"]) == ("error", "未通过身份验证")
        assert await client.closed() == 4001


async def test_a_token_opens_the_socket_and_its_scopes_bound_it(
    guarded: GatewayProcess, make_token: TokenMaker
) -> None:
    async with await ContactClient.connect(guarded, token=make_token()) as client:
        assert len(await client.chat("What can you do?")) == 2
    async with await ContactClient.connect(
        guarded, headers={"Authorization": f"Bearer {make_token(scopes='read')}"}
    ) as client:
        for frame in ("chat_message", "contact_request"):
            await client.send({"type": frame, "message": "may I?"})
            assert (await client.recv())["message"] == "没有权限"


async def test_an_open_socket_ends_with_its_token(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    async with await ContactClient.connect(guarded, token=make_token()) as client:
        make_token.revoke_all()
        assert (await client.recv(5))["message"] == "未通过身份验证"
        assert await client.closed() == 4001


@pytest.fixture
async def public(guarded: GatewayProcess) -> AsyncIterator[GatewayProcess]:
    """The gateway that wants tokens, while its pipeline is public."""

    async def is_public() -> bool:
        async with await ContactClient.connect(guarded, headers=BLOG) as client:
            return bool(client.established["type"] == "connection_established")

    query(guarded, "UPDATE conversations_pipeline SET public = 1")
    await eventually(is_public, timeout=10, what="a public pipeline")
    yield guarded
    query(guarded, "UPDATE conversations_pipeline SET public = 0")

    async def is_closed() -> bool:
        return not await is_public()

    await eventually(is_closed, timeout=10, what="a pipeline that is not public any more")


async def test_a_visitor_of_a_public_pipeline_needs_a_listed_page_and_no_token(public: GatewayProcess) -> None:
    async with await ContactClient.connect(public, headers=BLOG) as client:
        assert len(await client.chat("What can you do?")) == 2
        credentials = client.credentials
    async with await ContactClient.connect(public, headers=BLOG, last_seq=1, **credentials) as client:
        assert [(await client.recv())["type"] for _ in range(2)] == ["resumed", "chat_message"]
    async with await ContactClient.connect(public) as client:  # from no page at all
        assert await client.closed() == 4001
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            await ContactClient.connect(public, headers={"Origin": origin})
        assert refused.value.response.status_code == 403
