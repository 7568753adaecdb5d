"""What is in the log: ids, no content of rows, and what libraries say on one line and not over and over."""

import asyncio
import json
import logging
import os
import re
import signal
from collections import Counter
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from chatgateway.logging import REPEATED, Sparing, brief_traceback
from tests.chatgateway.test_health import allow_connections, get
from tests.conftest import GatewayFactory
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import PipelineClient, is_final, is_type
from tests.support.databases import ValkeyServer
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("psycopg.pool", logging.WARNING, "pool.py", 1, text, arguments, None)


def test_the_same_is_told_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    sparing = Sparing()
    assert sparing.filter(record("error connecting in %r: %s", "pool-1", "refused"))
    assert not sparing.filter(record("error connecting in %r: %s", "pool-2", "refused"))
    assert sparing.filter(record("reconnection attempt in pool %r failed", "pool-1"))
    now += REPEATED
    assert sparing.filter(record("error connecting in %r: %s", "pool-1", "refused"))


def test_it_is_told_on_one_line() -> None:
    told = record("error connecting in %r: %s", "pool-1", "connection failed:\n\tIs the server running?")
    assert Sparing().filter(told)
    assert told.getMessage() == "error connecting in 'pool-1': connection failed: Is the server running?"


def test_an_exception_says_one_line_the_next_may_hold_a_row_s_values() -> None:
    error = RuntimeError("not stored\nwhat was said")
    error.__cause__ = ValueError("violates a constraint\nDETAIL: Failing row contains (1, what was said).")
    told = brief_traceback((type(error), error, None))
    assert "ValueError: violates a constraint\n" in told
    assert told.endswith("RuntimeError: not stored")
    assert "was said" not in told


def events(gateway: GatewayProcess, name: str) -> list[dict[str, Any]]:
    """Return the events of that name, from a log of JSON lines."""
    lines = [json.loads(line) for line in gateway.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


async def test_what_is_logged_carries_the_id_of_what_it_is_about(start_gateway: GatewayFactory) -> None:
    with model_in_thread() as model:
        gateway = start_gateway(model=model.base_url(Mode.UNAUTHORIZED), environment={"LOG_FORMAT": "json"})
        async with await PipelineClient.connect(gateway) as client:
            for _ in range(10):
                await client.send("no JSON")
            assert await client.closed() == 1008
            connection = client.connected["connection_id"]
        async with await PipelineClient.connect(gateway) as client:
            await client.ask("a question of mine")
    (closed,) = events(gateway, "connection.closed")
    assert (closed["connection_id"], closed["wire"], closed["code"]) == (connection, "langbot", 1008)
    (failed,) = events(gateway, "turn.responder_failed")
    assert isinstance(failed["turn"], int)
    assert "connection_id" not in failed, "the turn is the session's: the next one is of somebody else"
    assert failed["session"]
    assert "a question of mine" not in gateway.log()


def failed_writes(gateway: GatewayProcess) -> float:
    """Return how many writes failed, as /metrics tells."""
    told = str(get(gateway, "/metrics")[1], "utf-8")
    (count,) = re.findall(r'^chatgateway_store_failures_total\{reason="unavailable"\} (.+)$', told, re.MULTILINE)
    return float(count)


async def test_a_database_that_is_away_is_told_once_and_so_is_its_return(
    start_gateway: GatewayFactory, valkey: ValkeyServer
) -> None:
    quick = {"LOG_FORMAT": "json", "LOCK_TIMEOUT": "0.5", "BEAT": "0.2", "SCAN": "0.2"}
    gateway = start_gateway(database="postgres", redis_url=valkey.url, environment=quick)

    def told(event: str) -> Counter[str]:
        return Counter(line["what"] for line in events(gateway, event))

    def is_noticed() -> bool:
        return {"lease", "deliveries", "statistics", "look for missed messages"} <= told("background.failed").keys()

    async with await PipelineClient.connect(gateway) as client:
        await client.ask("a question of mine")
        allow_connections(gateway.database_url, allowed=False)
        await asyncio.to_thread(wait_until, is_noticed, timeout=30, what="an outage", detail=gateway.log)
        before = await asyncio.to_thread(failed_writes, gateway)
        await asyncio.to_thread(wait_until, lambda: failed_writes(gateway) >= before + 8, timeout=30, what="failures")
        assert get(gateway, "/readyz")[0] == 503
        assert not events(gateway, "store.available")
        allow_connections(gateway.database_url, allowed=True)
        await asyncio.to_thread(
            wait_until,
            lambda: told("background.works") == told("background.failed"),
            timeout=30,
            what="the end of it",
            detail=gateway.log,
        )
    assert set(told("background.failed").values()) == {1}, gateway.log()
    assert len(events(gateway, "store.available")) == 1, gateway.log()
    assert not [line for line in gateway.log().splitlines() if '"level": "error"' in line]


async def test_a_stop_is_told_as_it_begins_and_who_has_ended_at_its_end(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"LOG_FORMAT": "json"})
    pid = gateway.pid
    gateway.terminate()
    (registered,), (draining,), (stopped,) = (
        events(gateway, name) for name in ("worker.registered", "gateway.draining", "gateway.stopped")
    )
    assert (registered["pid"], registered["worker"]) == (pid, stopped["worker"])
    assert (draining["answers"], draining["seconds"]) == (0, 25.0)


async def test_a_second_signal_ends_it_at_once_and_is_told(start_gateway: GatewayFactory) -> None:
    with model_in_thread(Mode.SILENT) as model:
        gateway = start_gateway(model=model.base_url(), environment={"LOG_FORMAT": "json"})
        async with await PipelineClient.connect(gateway) as client:
            await client.say("a question of mine")
            await client.until(is_type("user_message"))
            os.kill(gateway.pid, signal.SIGTERM)
            await asyncio.to_thread(
                wait_until, lambda: bool(events(gateway, "gateway.draining")), timeout=20, what="a stop"
            )
            assert gateway.terminate() == -signal.SIGTERM
            with pytest.raises(ConnectionClosed) as closed:
                await client.until(is_final)
    assert closed.value.rcvd is None, "there is no time for a close frame"
    assert events(gateway, "gateway.draining")[0]["answers"] == 1
    assert len(events(gateway, "server.killed")) == 1
    assert not events(gateway, "gateway.stopped")


async def test_a_close_code_is_a_number(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"LOG_FORMAT": "text", "MAX_FRAME_BYTES": "4096"})
    async with await PipelineClient.connect(gateway) as client:
        await client.send(b"x" * 4097)
        assert await client.closed() == 1009
    wait_until(lambda: "connection.closed" in gateway.log(), timeout=10, what="its end in the log")
    (line,) = (line for line in gateway.log().splitlines() if "connection.closed" in line)
    assert re.search(r"\bcode=1009\b", line), line
