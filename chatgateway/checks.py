"""What must hold before the gateway serves; each failure is one sentence for who started it."""

import errno
import fcntl
import os
import socket
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from chatgateway.environment import is_loopback, make_data_dir
from conversations.responders.upstream import is_public

BACKLOG = 2048


def check_settings(host: str, workers: int) -> None:
    """Refuse settings that contradict each other."""
    make_data_dir(settings.DATA_DIR)
    if settings.ACCESS_MODE == "open" and not is_loopback(host) and not settings.ALLOW_OPEN_ACCESS:
        raise ImproperlyConfigured(
            f"Open access is for this machine only, and HOST is {host}: "
            "set ACCESS_MODE=token, or ALLOW_OPEN_ACCESS=true if everybody may use it."
        )
    model = urlsplit(settings.OPENAI_BASE_URL).hostname or ""
    if not settings.ALLOW_PRIVATE_UPSTREAMS and _is_private(model):
        raise ImproperlyConfigured(
            f"OPENAI_BASE_URL is at the private address {model}: set ALLOW_PRIVATE_UPSTREAMS=true for your own model."
        )
    if workers > 1 and not settings.REDIS_URL:
        raise ImproperlyConfigured(f"WORKERS={workers} needs REDIS_URL, through which the workers reach one another.")


def _is_private(host: str) -> bool:
    """Tell whether a host that is known without looking it up is none of the public internet."""
    with suppress(ValueError):
        return not is_public(ip_address(host))
    return is_loopback(host)


def claim_data_dir() -> IO[str]:
    """Return the lock of a gateway without Redis on its data folder; raise ImproperlyConfigured where one runs.

    Two of them would split the rooms between them: neither would hear what is said on the other.
    """
    path = settings.DATA_DIR / "serve.lock"
    try:
        lock = path.open("w")
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ImproperlyConfigured(
            f"Another gateway serves from {settings.DATA_DIR}: stop it, or set REDIS_URL for both, or another DATA_DIR."
        ) from error
    return lock


def check_database() -> None:
    """Refuse a database that does not answer."""
    try:
        if connection.vendor == "postgresql":
            with connection.wrap_database_errors:  # not the pool's: it tries for seconds and keeps the reason
                psycopg.connect(**connection.get_connection_params()).close()
        else:
            connection.ensure_connection()
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ImproperlyConfigured(f"The database {_database_name()} cannot be opened: {reason}.") from error
    file = Path(str(connection.settings_dict["NAME"]))
    if connection.vendor == "sqlite" and not os.access(file, os.W_OK):
        raise ImproperlyConfigured(f"The database {file} cannot be written by this user.")


def check_migrations() -> None:
    """Refuse a database whose tables are not those of this release."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise ImproperlyConfigured(
            f"The database {_database_name()} is not set up for this release: run `manage.py migrate` first."
        )


def layer_warning() -> str | None:
    """Return a sentence when Redis is set and does not answer; the gateway then starts without it and keeps trying."""
    if not settings.REDIS_URL:
        return None
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
    try:
        client.ping()
    except redis.RedisError as error:
        return (
            f"REDIS_URL {_place(settings.REDIS_URL)} does not answer ({error}): workers cannot reach one another yet."
        )
    finally:
        client.close()
    return None


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Return `count` sockets listening on one address; raise ImproperlyConfigured where it cannot be had.

    With several the kernel spreads new connections over them evenly, which workers on one socket would not.
    """
    first = _listener(host, port, shared=False)
    if count == 1:
        return [first]
    # A shared address could be shared with a stranger too, so the first look was for one of our own.
    first.close()
    return [_listener(host, port, shared=True) for _ in range(count)]


def _listener(host: str, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = "is already in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
        raise ImproperlyConfigured(f"Port {port} on {host} {reason}: set PORT (and HOST) to another.") from error
    except OverflowError as error:
        listener.close()
        raise ImproperlyConfigured(f"PORT must be between 1 and 65535, not {port}.") from error
    listener.setblocking(False)
    return listener


def _database_name() -> str:
    """Return which database it is, without credentials."""
    sqlite = connection.vendor == "sqlite"
    return str(connection.settings_dict["NAME"]) if sqlite else _place(settings.DATABASE_URL)


def _place(url: str) -> str:
    """Return a URL without its credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
