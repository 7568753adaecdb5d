"""Two workers, one truth: groups, statistics and leases over PostgreSQL and Valkey."""

import asyncio
import os
import re
import signal
from collections import Counter

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, is_type
from tests.support.databases import PostgresServer
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess
from tests.support.staff import Staff
from tests.support.waiting import eventually

SOCKETS = 16


async def _statistics(gateway: GatewayProcess) -> dict[str, int]:
    status, answer = await acall(gateway, "GET", below("connections"))
    assert status == 200
    stats: dict[str, int] = answer["data"]["stats"]
    return stats


async def test_a_group_spans_workers_and_a_killed_worker_leaves_no_ghosts(
    start_gateway: GatewayFactory, postgres: PostgresServer
) -> None:
    gateway = start_gateway(database="postgres", workers=2, environment={"LEASE": "20"})
    clients = [await PipelineClient.connect(gateway, "group") for _ in range(SOCKETS)]
    owners = postgres.query(
        gateway.database_url, "SELECT uuid::text, worker::text FROM connections_connection WHERE ended_at IS NULL"
    )
    workers = dict(owners)
    assert len(set(workers.values())) == 2, "both workers have sockets"
    assert (await _statistics(gateway))["total_connections"] == SOCKETS

    await clients[0].say("hello everybody")
    for client in clients:
        frame = (await client.until(is_type("user_message")))[-1]
        assert frame["data"]["content"] == "hello everybody"
        assert frame["data"]["seq"] == 1

    counts = Counter(workers.values())
    pids = dict(postgres.query(gateway.database_url, "SELECT uuid::text, pid FROM connections_worker"))
    victim, lost = counts.most_common(1)[0]
    os.kill(int(pids[victim]), signal.SIGKILL)

    async def gone() -> bool:
        return (await _statistics(gateway))["total_connections"] == SOCKETS - lost

    await eventually(gone, timeout=30, what="the killed worker's connections are gone")
    survivors = [client for client in clients if workers[client.connected["connection_id"]] != victim]
    newcomer = await PipelineClient.connect(gateway, "group")
    await newcomer.say("still here?")
    for client in survivors:
        frame = (await client.until(is_type("user_message")))[-1]
        assert frame["data"]["seq"] == 2
    for client in [*clients, newcomer]:
        await client.close()


async def test_one_order_for_every_subscriber_on_every_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    clients = [await PipelineClient.connect(gateway, "group", session_id="order") for _ in range(8)]
    rounds = 25
    for number in range(rounds):
        for client in clients:
            await client.say(f"{number}")
    total = rounds * len(clients)
    for client in clients:
        frames = await client.until(lambda frame: frame.get("data", {}).get("seq") == total, timeout=60)
        assert [frame["data"]["seq"] for frame in frames] == list(range(1, total + 1))
        await client.close()


async def test_a_broadcast_reaches_the_sockets_of_every_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    clients = [await PipelineClient.connect(gateway) for _ in range(8)]
    status, answer = await acall(gateway, "POST", below("broadcast"), {"message": "维护通知"})
    assert (status, answer["data"]["recipients"]) == (200, 8)
    for client in clients:
        frame = await client.recv()
        assert (frame["type"], frame["message"]) == ("broadcast", "维护通知")
        await client.close()


async def test_an_answer_is_stopped_from_a_socket_on_any_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    first = await PipelineClient.connect(gateway)
    again = [
        await PipelineClient.connect(gateway, session_id=first.session_id, resume_token=first.resume_token)
        for _ in range(6)
    ]
    for client in again:
        await client.send({"type": "stop"})
    assert (await first.ping())["type"] == "pong"
    for client in [first, *again]:
        await client.close()


async def test_staff_closes_connections_of_every_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    clients = [await PipelineClient.connect(gateway) for _ in range(8)]
    staff = await asyncio.to_thread(Staff, gateway)
    page = "/admin/connections/connection/"
    chosen = re.findall(r'name="_selected_action" value="(\d+)"', await asyncio.to_thread(staff.get, page))
    assert len(chosen) == 8
    form = {"action": "close_selected", "_selected_action": chosen}
    assert "Close 8 connections" in await asyncio.to_thread(staff.post, page, **form)
    form |= {"code": "4003", "reason": "over and out"}
    assert "8 connections asked to close" in await asyncio.to_thread(staff.post, page, **form)
    for client in clients:
        assert await client.closed() == 4003
        assert client.socket.close_reason == "over and out"
    await eventually(lambda: _is_empty(staff, page), timeout=15, what="the rows' ends")
    staff.close()


async def _is_empty(staff: Staff, page: str) -> bool:
    return "_selected_action" not in await asyncio.to_thread(staff.get, page)
