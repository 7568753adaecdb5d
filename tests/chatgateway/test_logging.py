"""What libraries say in the log: on one line, and not over and over."""

import logging

import pytest

from chatgateway.logging import REPEATED, Sparing


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
