"""What is in the log: ids, no content of rows, and what libraries say on one line and not over and over."""

import json
import logging
from typing import Any

import pytest

from chatgateway.logging import REPEATED, Sparing, brief_traceback
from tests.conftest import GatewayFactory
from tests.faults.model import Mode, model_in_thread
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess


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
