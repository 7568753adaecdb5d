"""The pipeline wire's REST calls on a real server."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.support.applications import change
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient
from tests.support.rest import acall, below, call, history
from tests.support.server import GatewayProcess


async def test_history_pages_and_keeps_the_frames_shape(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        frames = [await client.ask(f"What can you do? {number}") for number in range(3)]
        query = f"?session_id={client.session_id}"
    everything = history(gateway, query=query)
    assert everything == [frame["data"] for turn in frames for frame in (turn[0], turn[-1])]
    assert history(gateway, query=f"{query}&limit=2") == everything[-2:]
    assert history(gateway, query=f"{query}&after_seq=4") == everything[4:]


async def test_history_of_all_sessions_is_in_order(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as first, await PipelineClient.connect(gateway) as second:
        asked = [await client.ask("What can you do?") for client in (first, second, first)]
    ids = [frame["data"]["id"] for turn in asked for frame in (turn[0], turn[-1])]
    newest = [message["id"] for message in history(gateway, query="?limit=6")]
    assert newest == ids


async def test_statistics_and_connections_follow_the_sockets(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as person, await PipelineClient.connect(gateway, "group"):
        status, answer = await acall(gateway, "GET", below("connections"))
        stats = answer["data"]["stats"]
        assert status == 200
        assert stats["total_connections"] == stats["connections_by_pipeline"][DEFAULT_PIPELINE] >= 2
        assert stats["connections_by_session_type"]["group"] >= 1
        assert stats["pipelines"] == 1
        rows = {row["connection_id"]: row for row in answer["data"]["connections"]}
        row = rows[person.connected["connection_id"]]
        assert row["session_type"] == "person"
        assert row["is_active"] is True
        assert row["created_at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/nonsense/ws/messages/person", None, 404, "Pipeline not found"),
        ("GET", "/00000000-0000-4000-8000-0000000000ff/ws/connections", None, 404, "Pipeline not found"),
        ("GET", below("messages/crowd"), None, 400, "session_type must be person or group"),
        ("POST", below("reset/crowd"), None, 400, "session_type must be person or group"),
        ("GET", below("messages/person?limit=0"), None, 400, "limit: "),
        ("GET", below("messages/person?limit=501"), None, 400, "limit: "),
        ("GET", below("messages/person?after_seq=x"), None, 400, "after_seq: "),
        ("GET", below("messages/person?after_seq=1"), None, 400, "after_seq needs session_id"),
        ("GET", below("messages/person?session_id=nonsense"), None, 404, "Session not found"),
        ("POST", below("broadcast"), {}, 400, "message is required"),
        ("POST", below("broadcast"), {"message": ""}, 400, "message is required"),
        ("POST", below("broadcast"), [], 400, "message is required"),
        ("POST", below("broadcast"), {"message": "x", "session_type": "crowd"}, 400, "session_type must be"),
        ("POST", below("broadcast"), b'{"message":NaN}', 400, "Invalid JSON format"),
        ("POST", below("broadcast"), b'{"message":1,"message":2}', 400, "Invalid JSON format"),
        ("PUT", below("broadcast"), {"message": "x"}, 405, 'Method "PUT" not allowed.'),
    ],
)
def test_a_bad_call_is_refused_in_the_envelope(
    gateway: GatewayProcess, method: str, path: str, body: Any, status: int, message: str
) -> None:
    got, answer = call(gateway, method, path, body)
    assert (got, answer["code"]) == (status, -1)
    assert answer["msg"].startswith(message)


def test_a_strange_host_is_refused(gateway: GatewayProcess) -> None:
    assert call(gateway, "GET", "", headers={"Host": "evil.example"})[0] == 400


def test_pipelines_are_listed(gateway: GatewayProcess) -> None:
    status, answer = call(gateway, "GET", "")
    assert status == 200
    assert {"uuid", "name", "description", "is_default"} == set(answer["data"]["pipelines"][0])
    assert DEFAULT_PIPELINE in {pipeline["uuid"] for pipeline in answer["data"]["pipelines"]}


async def test_a_reset_narrowed_in_its_body_leaves_the_others_alone(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as mine, await PipelineClient.connect(gateway) as other:
        await mine.ask("What can you do?")
        await other.ask("What can you do?")
        status, _ = await acall(gateway, "POST", below("reset/person"), {"session_id": mine.session_id})
        assert status == 200
        assert history(gateway, query=f"?session_id={mine.session_id}") == []
        assert len(history(gateway, query=f"?session_id={other.session_id}")) == 2


async def test_a_reset_and_a_broadcast_are_in_the_audit_trail(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("What can you do?")
        await acall(gateway, "POST", below("reset/person"), {"session_id": client.session_id})
        await acall(gateway, "POST", below("broadcast"), {"message": "canary", "session_type": "person"})
        trail = change(gateway, "SELECT action, actor, subject, details FROM connections_auditentry ORDER BY id")
    reset = ("reset", "anybody, by open access", f"session {client.session_id}", "")
    assert reset in trail
    action, actor, subject, details = trail[-1]
    assert (action, actor) == ("broadcast", "anybody, by open access")
    assert subject.endswith("; person sessions")
    assert details.startswith("to ")
    assert "canary" not in str(trail)


async def test_a_broadcast_that_cannot_be_recorded_is_not_sent(gateway: GatewayProcess) -> None:
    path = gateway.database_url.removeprefix("sqlite:///")
    async with await PipelineClient.connect(gateway) as client:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
            database.execute("BEGIN IMMEDIATE")
            status, answer = await acall(gateway, "POST", below("broadcast"), {"message": "canary"})
        assert (status, answer["msg"]) == (503, "The database cannot be written now, please try again.")
        assert await client.recv_after_ping() == []


async def test_a_body_in_chunks_is_read(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))
    body = b'{"message":"in chunks"}'
    head = (
        f"POST /api/v1/pipelines{below('broadcast')} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Broadcast sent successfully" in answer


def test_a_strangers_page_may_not_call(gateway: GatewayProcess) -> None:
    for origin, status in (("https://evil.example", 403), ("null", 403), ("http://localhost:3000", 200), (None, 200)):
        headers = {"Origin": origin} if origin else {}
        assert call(gateway, "GET", "", headers=headers)[0] == status


def test_a_body_that_is_far_too_large_is_refused_before_it_is_read(gateway: GatewayProcess) -> None:
    status, answer = call(gateway, "POST", below("broadcast"), b"x", headers={"Content-Length": "999999999"})
    assert (status, answer["msg"]) == (413, "The request body is too large")
