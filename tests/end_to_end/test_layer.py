"""Two workers whose Redis goes away: nobody waits for the next message to hear of the last one (R4, R10)."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, is_final
from tests.support.databases import PostgresServer, ValkeyServer


@pytest.fixture
def own_valkey() -> Iterator[ValkeyServer]:
    """A Valkey that the test may stop."""
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()


async def test_question_and_answer_reach_the_other_worker_without_redis_and_after_its_restart(
    start_gateway: GatewayFactory, postgres: PostgresServer, own_valkey: ValkeyServer
) -> None:
    gateway = start_gateway(database="postgres", workers=2, redis_url=own_valkey.url)
    clients = [await PipelineClient.connect(gateway, "group") for _ in range(12)]
    workers = postgres.query(
        gateway.database_url, "SELECT DISTINCT worker FROM connections_connection WHERE ended_at IS NULL"
    )
    assert len(workers) == 2, "both workers have sockets"
    seq = 0
    for change in (None, own_valkey.stop, own_valkey.start):
        if change is not None:
            change()
        await clients[0].say("ai What can you do?")
        for client in clients:
            frames = [frame for frame in await client.until(is_final, timeout=10) if "seq" in frame["data"]]
            assert [frame["data"]["seq"] for frame in frames] == [seq + 1, seq + 2]
        seq += 2
    await asyncio.gather(*(client.close() for client in clients))
