"""The gateway's settings, and a line in `DATA_DIR/queries` for every query that it sends to its database."""

import os
from collections.abc import Callable
from typing import Any

from django.db.backends.signals import connection_created

from chatgateway import settings
from chatgateway.settings import *  # noqa: F403  it is a settings module

_file = os.open(settings.DATA_DIR / "queries", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    os.write(_file, " ".join(sql.split()).encode()[:200] + b"\n")
    return execute(sql, params, many, context)


def _follow(connection: Any, **_: Any) -> None:
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


connection_created.connect(_follow, weak=False)
