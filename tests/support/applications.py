"""Applications and tokens of a gateway that runs, put straight into its SQLite file: a command takes a second."""

import contextlib
import hashlib
import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from tests.support.server import GatewayProcess


@dataclass(frozen=True)
class Credentials:
    """What an application was given."""

    uuid: UUID
    appid: str
    secret: str
    token: str


def make_application(
    gateway: GatewayProcess,
    *,
    scopes: str = "read,write",
    pipeline: str | None = None,
    wires: tuple[str, ...] = (),
    client_prefixes: tuple[str, ...] = (),
    callback_url: str = "",
) -> Credentials:
    """Make an application and a token of it, as `manage.py create_application --token` does."""
    made = Credentials(uuid4(), f"app_{secrets.token_hex(12)}", secrets.token_urlsafe(8), secrets.token_urlsafe(32))
    # One round instead of a million: what is tested is not how long a secret takes to try.
    digest = PBKDF2PasswordHasher().encode(made.secret, "salt", iterations=1)
    rows = change(
        gateway,
        "INSERT INTO connections_application (uuid, name, appid, secret_hash, pipeline, wires, client_prefixes,"
        " callback_url, origins, enabled, created_at)"
        " VALUES (?, 'test', ?, ?, ?, ?, ?, ?, '[]', 1, datetime('now')) RETURNING id",
        made.uuid.hex, made.appid, digest, UUID(pipeline).hex if pipeline else None, json.dumps(wires),
        json.dumps(client_prefixes), callback_url,
    )  # fmt: skip
    change(
        gateway,
        "INSERT INTO connections_accesstoken (application_id, label, digest, scopes, created_at)"
        " VALUES (?, '', ?, ?, datetime('now'))",
        rows[0][0], hashlib.sha256(made.token.encode()).hexdigest(), json.dumps(scopes.split(",")),
    )  # fmt: skip
    return made


def change(gateway: GatewayProcess, statement: str, *values: str | int | None) -> list[Any]:
    """Run a statement on the database of a gateway that runs, and return the rows."""
    path = gateway.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        return connection.execute(statement, values).fetchall()
