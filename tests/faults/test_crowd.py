"""Everybody comes back at once: after a restart of the gateway, and after that of a proxy before it."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.support.clients import PipelineClient, is_final, is_type
from tests.support.server import DatabaseKind, GatewayProcess

CROWD = at_length(60, 500)
ROOM = 60.0
PROMISED, QUERIES = 10.0, 2
GREETING_AT_ONCE = 50  # who come for the first time do so at their leisure


class Visitor:
    """Somebody in a session of his own, who has not seen the end of it."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self._session: dict[str, Any] = {}
        self.client: PipelineClient

    async def come(self) -> None:
        """Ask something, and be answered."""
        self.client = await PipelineClient.connect(self._gateway)
        await self.client.ask("What can you do?")
        self._session = {"session_id": self.client.session_id, "resume_token": self.client.resume_token}

    async def lose(self) -> None:
        """Lose the connection, as all do whose proxy is gone."""
        self.client.socket.transport.abort()
        await self.client.socket.wait_closed()

    async def come_again(self) -> None:
        """Come back to where the answer was still to come, be told it, and be heard."""
        self.client = await PipelineClient.connect(self._gateway, **self._session, last_seq=1)
        assert self.client.connected["last_seq"] == 2
        frames = await self.client.until(is_final, ROOM)
        assert [frame["type"] for frame in frames] == ["resumed", "response"]
        assert frames[0]["resumed"]
        await self.client.send({"type": "ping"})
        await self.client.until(is_type("pong"), ROOM)


@pytest.mark.promise("R19")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_crowd_that_comes_back_is_served(
    start_gateway: GatewayFactory, measured: Measured, database: DatabaseKind
) -> None:
    # One worker takes them all; it has company that shares the layer where it may have any.
    workers = 1 if database == "sqlite" else 2
    gateway = start_gateway(
        database=database,
        workers=workers,
        environment={"DJANGO_SETTINGS_MODULE": "tests.faults.counted_settings"},
    )
    crowd = [Visitor(gateway) for _ in range(CROWD)]
    some = asyncio.Semaphore(GREETING_AT_ONCE)

    async def come(visitor: Visitor) -> None:
        async with some:
            await visitor.come()

    await asyncio.gather(*(come(visitor) for visitor in crowd))
    times, queries = [], Counter[str]()
    for restart in (False, True):
        if restart:
            await asyncio.to_thread(gateway.restart)
        await asyncio.gather(*(visitor.lose() for visitor in crowd))
        began = time.monotonic()
        with counted(gateway, queries):
            async with asyncio.timeout(ROOM):
                await asyncio.gather(*(visitor.come_again() for visitor in crowd))
        times.append(time.monotonic() - began)
    await asyncio.gather(*(visitor.lose() for visitor in crowd))
    # What all of them ask is each one's own; connections are stored together, and the workers ask for themselves.
    each = sum(times for times in queries.values() if times >= CROWD) / 2 / CROWD
    together = queries.total() - each * 2 * CROWD
    measured(
        "R19",
        on="SQLite" if database == "sqlite" else "PostgreSQL + Valkey",
        figure=f"{CROWD} served in {times[0]:.1f} s, after a restart in {times[1]:.1f} s;"
        f" {each:.1f} queries each and {together / 2:.0f} for all of them",
        holds=max(times) <= PROMISED and each <= QUERIES,
    )
    assert each <= QUERIES, queries.most_common(12)


@contextmanager
def counted(gateway: GatewayProcess, queries: "Counter[str]") -> Iterator[None]:
    """Add the queries of the block to `queries`, by their words."""
    file = gateway.data_dir / "queries"
    before = len(_lines(file))
    yield
    queries.update(_lines(file)[before:])


def _lines(file: Path) -> list[str]:
    return [line[:110] for line in file.read_text(errors="replace").splitlines()]
