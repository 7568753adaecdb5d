"""The pipeline wire in token mode: four ways to say who one is, and nothing for strangers."""

from typing import Any

import pytest

from tests.integrations.langbot.conftest import TokenMaker
from tests.support.clients import PipelineClient
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess

UNAUTHORIZED = {"type": "error", "message": "Unauthorized"}


@pytest.mark.parametrize("way", ["header", "query", "subprotocol", "first frame"])
async def test_a_token_is_taken_in_four_ways(guarded: GatewayProcess, make_token: TokenMaker, way: str) -> None:
    token = make_token()
    ways: dict[str, dict[str, Any]] = {
        "header": {"headers": {"Authorization": f"Bearer {token}"}},
        "query": {"token": token},
        "subprotocol": {"subprotocol": f"bearer.{token}"},
        "first frame": {"first": {"type": "authenticate", "token": token, "workspace_uuid": "ignored"}},
    }
    async with await PipelineClient.connect(guarded, **ways[way]) as client:
        assert client.connected["type"] == "connected"
        assert (client.socket.subprotocol is not None) == (way == "subprotocol")
        assert (await client.ask("What can you do?"))[-1]["data"]["is_final"]


@pytest.mark.parametrize(
    "ways",
    [
        {"headers": {"Authorization": "Bearer wrong"}},
        {"token": "wrong"},
        {"first": {"type": "authenticate", "token": "wrong"}},
        {"first": {"type": "ping"}},
        {"first": {"message": 5}},
        {},
        {"pipeline": "00000000-0000-4000-8000-0000000000ff", "token": "wrong"},
    ],
)
async def test_a_stranger_is_told_nothing_but_unauthorized(guarded: GatewayProcess, ways: dict[str, Any]) -> None:
    async with await PipelineClient.connect(guarded, **ways) as client:
        assert client.connected == UNAUTHORIZED
        assert await client.closed() == 4001


async def test_scopes_bound_what_a_token_may_do(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    headers = {"Authorization": f"Bearer {make_token(scopes='read')}"}
    async with await PipelineClient.connect(guarded, headers=headers) as client:
        await client.say("may I?")
        assert await client.recv() == {"type": "error", "message": "Forbidden"}
        session = client.session_id
    assert (await acall(guarded, "GET", "", headers=headers))[0] == 200
    assert (await acall(guarded, "POST", below("broadcast"), {"message": "x"}, headers=headers))[0] == 403
    assert (await acall(guarded, "GET", below("messages/person"), headers=headers))[0] == 403
    assert (await acall(guarded, "POST", below(f"reset/person?session_id={session}"), headers=headers))[0] == 403


async def test_a_call_without_a_good_token_is_401(guarded: GatewayProcess) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        status, body = await acall(guarded, "GET", below("connections", pipeline="nonsense"), headers=headers)
        assert (status, body) == (401, {"code": -1, "msg": "No valid user token provided"})


async def test_an_application_reenters_its_own_sessions_and_no_others(
    guarded: GatewayProcess, make_token: TokenMaker
) -> None:
    mine, foreign = make_token(), make_token()
    async with await PipelineClient.connect(guarded, token=mine) as client:
        await client.ask("What can you do?")
        session, resume_token = client.session_id, client.resume_token
    async with await PipelineClient.connect(guarded, token=mine, session_id=session) as client:
        assert client.connected["last_seq"] == 2
    async with await PipelineClient.connect(guarded, token=foreign, session_id=session) as client:
        assert client.connected["message"] == "Session not found"
    query = f"messages/person?session_id={session}"
    for token, more, status in ((mine, "", 200), (foreign, "", 404), (foreign, f"&resume_token={resume_token}", 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await acall(guarded, "GET", below(query + more), headers=headers))[0] == status


async def test_an_application_of_one_pipeline_sees_no_other(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    token = make_token("--pipeline", "00000000-0000-4000-8000-000000000001")
    async with await PipelineClient.connect(guarded, token=token) as client:
        assert client.connected["type"] == "connected"
    other = "00000000-0000-4000-8000-0000000000ff"
    headers = {"Authorization": f"Bearer {token}"}
    assert (await acall(guarded, "GET", below("connections", other), headers=headers))[0] == 404


@pytest.mark.parametrize("way", ["query", "first frame"])
async def test_an_open_socket_ends_with_its_token(guarded: GatewayProcess, make_token: TokenMaker, way: str) -> None:
    token = make_token()
    ways: dict[str, dict[str, Any]] = {
        "query": {"token": token},
        "first frame": {"first": {"type": "authenticate", "token": token}},
    }
    async with await PipelineClient.connect(guarded, **ways[way]) as client:
        assert client.connected["type"] == "connected"
        make_token.revoke_all()
        assert await client.recv(5) == UNAUTHORIZED
        assert await client.closed() == 4001
