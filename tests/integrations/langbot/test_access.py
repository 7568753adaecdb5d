"""The pipeline wire in token mode: four ways to say who one is, and nothing for strangers."""

from typing import Any

import pytest

from tests.integrations.langbot.conftest import SHOP, TokenMaker
from tests.support.applications import change
from tests.support.clients import PipelineClient
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

UNAUTHORIZED = {"type": "error", "message": "Unauthorized"}
FORBIDDEN = {"type": "error", "message": "Forbidden"}


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


@pytest.mark.parametrize("way", ["query", "header", "subprotocol"])
async def test_a_visitor_s_socket_reenters_his_session(public: GatewayProcess, way: str) -> None:
    async with await PipelineClient.connect(public, headers=SHOP) as client:
        await client.ask("What can you do?")
        session, token = client.session_id, client.resume_token
    for given, greeting in ((token, {"type": "connected", "session_id": session}), ("x", {"type": "error"})):
        ways: dict[str, dict[str, Any]] = {
            "query": {"resume_token": given, "headers": SHOP},
            "header": {"headers": {**SHOP, "X-Resume-Token": given}},
            "subprotocol": {"headers": SHOP, "subprotocol": f"resume.{given}"},
        }
        async with await PipelineClient.connect(public, session_id=session, **ways[way]) as client:
            assert client.connected.items() >= greeting.items()
            assert (client.socket.subprotocol is not None) == (way == "subprotocol")


async def test_an_application_of_one_pipeline_sees_no_other(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    token = make_token(pipeline="00000000-0000-4000-8000-000000000001")
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


async def test_an_open_socket_follows_the_scopes_of_its_token(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    token = make_token()
    async with await PipelineClient.connect(guarded, token=token) as client:
        await client.ask("What can you do?")
        make_token.narrow(token, "read")

        async def may_not_write() -> bool:
            await client.send({"type": "stop"})
            return FORBIDDEN in await client.recv_after_ping()

        await eventually(may_not_write, timeout=5, what="refusal to write")
        await client.say("May I still?")
        assert await client.recv() == FORBIDDEN
        make_token.narrow(token, "write")
        await client.until(lambda frame: frame == FORBIDDEN, 5)
        assert await client.closed() == 4003


async def test_a_socket_does_not_stay_in_a_pipeline_that_its_application_has_left(
    guarded: GatewayProcess, make_token: TokenMaker
) -> None:
    token = make_token()
    async with await PipelineClient.connect(guarded, token=token) as client:
        change(guarded, "UPDATE connections_application SET pipeline = '11111111111141118111111111111111'")
        assert await client.closed() == 1013
    change(guarded, "UPDATE connections_application SET pipeline = NULL")


# --- Visitors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["our page", "a listed page"])
async def test_a_visitor_reads_his_own_session_and_no_other(public: GatewayProcess, own: bool) -> None:
    page = {"Origin": public.url} if own else SHOP
    async with await PipelineClient.connect(public, headers=page) as client:
        said = await client.ask("What can you do?")
        session, token = client.session_id, client.resume_token
    async with await PipelineClient.connect(public, headers=page) as client:
        await client.ask("What can you do?")
        foreign = client.session_id
    call = f"messages/person?session_id={session}&resume_token={token}"
    # A browser names no origin where a page only reads from where it came.
    for headers in (page, {"Sec-Fetch-Site": "same-origin"}):
        status, answer = await acall(public, "GET", below(call), headers=headers)
        assert (status, answer["data"]["messages"]) == (200, [said[0]["data"], said[-1]["data"]])
        status, answer = await acall(
            public, "GET", below(f"messages/person?session_id={session}"), headers={**headers, "X-Resume-Token": token}
        )
        assert (status, answer["data"]["messages"]) == (200, [said[0]["data"], said[-1]["data"]])
    missing = "00000000-0000-4000-8000-0000000000ff"
    for query in (f"{session}", f"{foreign}", f"{foreign}&resume_token={token}", missing, f"{missing}&resume_token=x"):
        answers = await acall(public, "GET", below(f"messages/person?session_id={query}"), headers=page)
        assert answers == (404, {"code": -1, "msg": "Session not found"})
    assert (await acall(public, "GET", below("messages/person"), headers=page))[0] == 403
    assert (await acall(public, "GET", below("messages/group?session_id=default"), headers=page))[0] == 404
    assert (await acall(public, "GET", below("connections"), headers=page))[0] == 401
    for headers, status in (({}, 401), ({"Origin": "https://evil.example"}, 403)):
        assert (await acall(public, "GET", below(call), headers=headers))[0] == status
    assert (await acall(public, "GET", below(call, pipeline=missing), headers=page))[0] == 401


async def test_a_visitor_of_a_pipeline_that_is_not_public_is_a_stranger(guarded: GatewayProcess) -> None:
    async with await PipelineClient.connect(guarded, headers=SHOP) as client:
        assert client.connected["type"] == "error"
    call = "messages/person?session_id=00000000-0000-4000-8000-0000000000ff"
    assert (await acall(guarded, "GET", below(call), headers=SHOP))[0] == 401
