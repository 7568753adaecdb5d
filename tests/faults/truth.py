"""What the database says, asked past the gateway."""

import contextlib
import sqlite3
from typing import Any, LiteralString

import psycopg

from tests.support.server import GatewayProcess

OPEN = "SELECT count(*) FROM conversations_turn WHERE state <> 'ended'"
UNANSWERED = """
    SELECT count(*) FROM conversations_turn AS turn
    LEFT JOIN conversations_message AS answer ON answer.id = turn.id AND answer.role = 'assistant'
    WHERE answer.id IS NULL
"""
ANSWERED_TWICE = """
    SELECT count(*) FROM (
        SELECT question_id FROM conversations_message WHERE role = 'assistant' AND question_id IS NOT NULL
        GROUP BY question_id HAVING count(*) > 1
    ) AS twice
"""
WITH_GAPS = """
    SELECT count(*) FROM conversations_chatsession AS session
    WHERE last_seq <> (SELECT count(*) FROM conversations_message AS m WHERE m.session_id = session.id)
    OR last_seq <> (SELECT coalesce(max(seq), 0) FROM conversations_message AS m WHERE m.session_id = session.id)
"""
_AN_HOUR_OLDER = "UPDATE conversations_message SET created_at = created_at - interval '1 hour' RETURNING id"
_AN_HOUR_OLDER_ON_SQLITE = "UPDATE conversations_message SET created_at = datetime(created_at, '-1 hour') RETURNING id"
SAID = "SELECT text FROM conversations_message WHERE role = 'user' ORDER BY id"


def ask(gateway: GatewayProcess, statement: LiteralString) -> list[tuple[Any, ...]]:
    """Return the rows that a statement gives in a gateway's database."""
    url = gateway.database_url
    if url.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection, connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url, autocommit=True) as server:
        return server.execute(statement).fetchall()


def count(gateway: GatewayProcess, statement: LiteralString) -> int:
    """Return the one number of a query."""
    return int(ask(gateway, statement)[0][0])


def let_pass(gateway: GatewayProcess, hours: int) -> None:
    """Make all that was said so many hours older."""
    is_sqlite = gateway.database_url.startswith("sqlite")
    for _ in range(hours):
        ask(gateway, _AN_HOUR_OLDER_ON_SQLITE if is_sqlite else _AN_HOUR_OLDER)
