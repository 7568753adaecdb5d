"""kill -9 under load, again and again: nothing acknowledged is lost, every question ends once (R1, R4, R5)."""

import asyncio
import contextlib
import os
import random
import sqlite3
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import WebSocketException

from tests.conftest import GatewayFactory
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import PipelineClient, is_final
from tests.support.databases import PostgresServer
from tests.support.rest import history
from tests.support.server import DatabaseKind, GatewayProcess, manage, model_settings
from tests.support.waiting import wait_until

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "4"))
VISITORS = 8
OPEN = "SELECT count(*) FROM conversations_turn WHERE state <> 'ended'"
UNANSWERED = """
    SELECT count(*) FROM conversations_turn AS turn
    LEFT JOIN conversations_message AS answer ON answer.id = turn.id AND answer.role = 'assistant'
    WHERE answer.id IS NULL
"""


@dataclass
class Visitor:
    """Somebody who keeps talking in one session, over every crash, and remembers what was acknowledged."""

    session: dict[str, Any] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)

    async def talk(self, gateway: GatewayProcess) -> None:
        """Ask one question after another until the gateway dies."""
        with contextlib.suppress(WebSocketException, OSError, TimeoutError):
            client = await PipelineClient.connect(gateway, **self.session)
            self.session = {"session_id": client.session_id, "resume_token": client.resume_token}
            while True:
                text = uuid4().hex
                await client.say(text, client_msg_id=text)
                frames = await client.until(
                    lambda frame, text=text: (  # type: ignore[misc]  # bound now, as the loop's variable moves on
                        frame["type"] == "error"
                        or (frame["type"] == "user_message" and frame["data"]["content"] == text)
                    )
                )
                if frames[-1]["type"] == "error":  # too many of his questions wait: not taken, and not acknowledged
                    await client.until(is_final)
                    continue
                self.acknowledged.append(frames[-1]["data"]["content"])
                if len(self.acknowledged) % 2:  # every other question is asked before the last one is answered
                    await client.until(is_final)


async def _load_until_killed(gateway: GatewayProcess, visitors: list[Visitor], chance: random.Random) -> None:
    before = sum(len(visitor.acknowledged) for visitor in visitors)
    wanted = before + chance.randint(8, 40)
    talking = [asyncio.create_task(visitor.talk(gateway)) for visitor in visitors]
    while sum(len(visitor.acknowledged) for visitor in visitors) < wanted:
        await asyncio.sleep(0.005)  # the visitors work in this loop; the moment of death is to be any moment
        assert not all(task.done() for task in talking), "the gateway died by itself"
    gateway.kill()
    await asyncio.gather(*talking)


@pytest.mark.timeout(20 * ROUNDS)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_nothing_acknowledged_is_lost_and_every_question_ends_once(
    start_gateway: GatewayFactory, postgres: PostgresServer, database: DatabaseKind
) -> None:
    chance = random.Random(4)
    visitors = [Visitor() for _ in range(VISITORS)]
    # The longer run is on SQLite, whose file is the machine's own; PostgreSQL shares the code above it.
    rounds = ROUNDS if database == "sqlite" else max(1, ROUNDS // 6)
    with model_in_thread() as model:
        environment = model_settings(model.base_url(Mode.SLOW))
        gateway = start_gateway(database=database, environment=environment, start=False)
        manage("bootstrap", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url, **environment)
        for _ in range(rounds):
            gateway.start()
            await _load_until_killed(gateway, visitors, chance)
        gateway.start()

        def count(statement: str) -> int:
            if database == "postgres":
                return int(postgres.query(gateway.database_url, statement)[0][0])
            with contextlib.closing(sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"))) as connection:
                return int(connection.execute(statement).fetchone()[0])

        # What the last worker left is taken over at once: its lock told that it died.
        await asyncio.to_thread(wait_until, lambda: count(OPEN) == 0, timeout=60, what="the end of every turn")
        assert count(UNANSWERED) == 0
    for visitor in visitors:
        _check(visitor, history(gateway, query=f"?session_id={visitor.session['session_id']}&limit=500"))


def _check(visitor: Visitor, messages: list[dict[str, Any]]) -> None:
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1)), "gap-free, all of it"
    assert len({message["id"] for message in messages}) == len(messages)
    said = [message["content"] for message in messages if message["role"] == "user"]
    assert len(said) == len(set(said)), "once each"
    assert not set(visitor.acknowledged) - set(said), "lost"
    assert len(said) * 2 == len(messages), "one answer each"
