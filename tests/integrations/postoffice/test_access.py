"""The hub in token mode: who may connect, under which name, and what he may say."""

from typing import Any

import pytest

from tests.integrations.postoffice.conftest import Credentials, Name
from tests.integrations.postoffice.test_views import fetch
from tests.support.applications import change, make_application
from tests.support.postoffice import HubClient, refusal
from tests.support.server import GatewayProcess

UNAUTHORIZED = (401, "text/plain; charset=utf-8", "Unauthorized")


def token_of(gateway: GatewayProcess, credentials: Credentials) -> str:
    appid, secret = credentials
    status, answer, _ = fetch(gateway, f"?appid={appid}&secret={secret}")
    assert status == 200
    return str(answer["token"])


@pytest.fixture(scope="module")
def token(guarded: GatewayProcess, application: Credentials) -> str:
    """A token from the token service."""
    return token_of(guarded, application)


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_token_of_the_token_service_lets_in(guarded: GatewayProcess, token: str, name: Name, way: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "header": {"headers": {"Authorization": f"Bearer {token}"}},
        "query": {"token": token},
    }
    async with await HubClient.connect(guarded, name("/service/zhycit/weather"), **ways[way]) as client:
        await client.write("AI_CHATBOT", "What can you do?")
        assert (await client.recv())["from"] == "AI_CHATBOT"


@pytest.mark.parametrize("more", [{}, {"token": "wrong"}, {"headers": {"Authorization": "Bearer wrong"}}])
async def test_a_stranger_is_told_nothing_but_unauthorized(
    guarded: GatewayProcess, token: str, name: Name, more: dict[str, Any]
) -> None:
    async with await HubClient.connect(guarded, name("taken"), token=token, startTime=9) as client:
        for client_id in (client.id, name("free"), "server", ""):
            assert await refusal(guarded, client_id, startTime=1, **more) == UNAUTHORIZED
        assert (await refusal(guarded, "", token=token))[0] == 400


async def test_an_origin_must_be_listed(guarded: GatewayProcess, token: str, name: Name) -> None:
    shop = {"Origin": "https://shop.example"}
    await (await HubClient.connect(guarded, name("shop"), token=token, headers=shop)).close()
    for origin in ("https://evil.example", "null"):
        assert (await refusal(guarded, name("evil"), token=token, headers={"Origin": origin}))[0] == 403


async def test_an_application_keeps_to_its_prefixes_wires_and_scopes(guarded: GatewayProcess, name: Name) -> None:
    prefix = name("/service/own") + "/"
    made = make_application(guarded, client_prefixes=(prefix,))
    assert await refusal(guarded, name("/service/other/x"), token=made.token) == UNAUTHORIZED
    await (await HubClient.connect(guarded, f"{prefix}x", token=made.token)).close()
    elsewhere = make_application(guarded, wires=("langbot",)).token
    assert await refusal(guarded, name("/service/free/x"), token=elsewhere) == UNAUTHORIZED


async def test_a_name_of_another_application_is_refused_like_a_wrong_token(guarded: GatewayProcess, name: Name) -> None:
    mine, other = make_application(guarded).token, make_application(guarded).token
    async with await HubClient.connect(guarded, name("mine"), token=mine, startTime=5) as client:
        for start_time in (4, 6):
            assert await refusal(guarded, client.id, token=other, startTime=start_time) == UNAUTHORIZED
        assert await client.until_silent() == []
    assert await refusal(guarded, name("mine"), token=other) == UNAUTHORIZED
    change(guarded, "UPDATE connections_hubclient SET application = NULL WHERE client_id = ?", name("mine"))
    await (await HubClient.connect(guarded, name("mine"), token=other)).close()
    assert await refusal(guarded, name("mine"), token=mine) == UNAUTHORIZED


async def test_a_name_under_another_application_s_prefix_is_refused_and_not_made_known(
    guarded: GatewayProcess, name: Name
) -> None:
    prefix = name("/station") + "/"
    owner, other = make_application(guarded, client_prefixes=(prefix,)).token, make_application(guarded).token
    assert await refusal(guarded, f"{prefix}1", token=other) == UNAUTHORIZED
    async with await HubClient.connect(guarded, name("writer"), token=other, receipts=1) as writer:
        await writer.write(f"{prefix}1", "anybody?")
        assert (await writer.recv())["subject"] == "rejected"
    await (await HubClient.connect(guarded, f"{prefix}1", token=owner)).close()


async def test_a_prefix_that_came_later_takes_a_name_over_with_its_letters(guarded: GatewayProcess, name: Name) -> None:
    prefix = name("billing") + "/"
    before = make_application(guarded).token
    await (await HubClient.connect(guarded, f"{prefix}1", token=before)).close()
    async with await HubClient.connect(guarded, name("writer"), token=before, receipts=1) as writer:
        await writer.write(f"{prefix}1", "waits")
        assert (await writer.recv())["subject"] == "queued"
    wide, narrow = (make_application(guarded, client_prefixes=(one,)).token for one in (prefix[:-1], prefix))
    for other in (before, wide):
        assert await refusal(guarded, f"{prefix}1", token=other) == UNAUTHORIZED
    async with await HubClient.connect(guarded, f"{prefix}1", token=narrow) as heir:
        assert (await heir.recv())["content"] == "waits"


async def test_a_revoked_token_closes_and_a_reader_may_not_write(
    guarded: GatewayProcess, token: str, name: Name
) -> None:
    narrow = make_application(guarded, scopes="read").token
    async with (
        await HubClient.connect(guarded, name("reader"), token=narrow, receipts=1) as reader,
        await HubClient.connect(guarded, name("writer"), token=token) as writer,
    ):
        await reader.write(writer.id, "may I?")
        receipt = await reader.recv()
        assert (receipt["subject"], receipt["content"]["reason"]) == ("rejected", "Forbidden")
        await writer.write(reader.id, "hi")
        assert (await reader.recv())["content"] == "hi"
        change(guarded, """UPDATE connections_accesstoken SET revoked_at = datetime('now') WHERE scopes = '["read"]'""")
        assert await reader.closed() == 4001
        assert await writer.until_silent() == []


async def test_a_pipeline_of_another_application_looks_like_a_missing_one(guarded: GatewayProcess, name: Name) -> None:
    bound = make_application(guarded, pipeline="00000000-0000-4000-8000-000000000001").token
    async with await HubClient.connect(guarded, name("bound"), token=bound, receipts=1) as client:
        reasons = []
        for number in ("2", "f"):
            await client.write(f"/pipeline/00000000-0000-4000-8000-00000000000{number}", "x")
            receipt = await client.recv()
            reasons.append((receipt["subject"], receipt["content"]["reason"]))
        assert reasons[0] == reasons[1] == ("rejected", "Pipeline not found")


async def test_an_open_socket_loses_a_name_that_its_application_may_not_have_any_more(
    guarded: GatewayProcess, name: Name
) -> None:
    made = make_application(guarded, client_prefixes=("/a/",))
    async with await HubClient.connect(guarded, name("/a/x"), token=made.token) as client:
        change(guarded, "UPDATE connections_application SET client_prefixes = '[\"/b/\"]' WHERE appid = ?", made.appid)
        assert await client.closed() == 4003
