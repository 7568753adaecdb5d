"""What a running gateway counts reaches the database while it runs, and what it had not written when it stops."""

import json
from typing import Any

from tests.conftest import GatewayFactory
from tests.support.applications import change
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess, manage
from tests.support.waiting import wait_until


def counted(gateway: GatewayProcess) -> tuple[int, int, int, int]:
    """Return messages, answers, answers with first words, and whole answers over all minutes."""
    rows: list[Any] = change(gateway, "SELECT messages, answers, first_words, whole_answers FROM connections_minute")
    return (
        sum(row[0] for row in rows),
        sum(row[1] for row in rows),
        sum(sum(json.loads(row[2])) for row in rows),
        sum(sum(json.loads(row[3])) for row in rows),
    )


async def test_messages_and_answers_are_counted_live_and_up_to_the_end(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway()
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("服务重启以后，聊天记录还在吗？")
        wait_until(lambda: counted(gateway) == (2, 1, 1, 1), timeout=15, what="the minute's row")
        told = json.loads(
            manage("gateway_status", "--json", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
        )
        assert (told["connections"], told["whole_answers"]["answers"]) == (1, 1)
        assert {share["key"]: share["connections"] for share in told["by_wire"]}["langbot"] == 1
        assert [worker["connections"] for worker in told["workers"]] == [1]
        await client.ask("How do I load my own documents into the knowledge base?")
    gateway.terminate()
    assert counted(gateway) == (4, 2, 2, 2)
