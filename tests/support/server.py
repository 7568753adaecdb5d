"""A real gateway in processes of its own, on uvicorn (`serve`) or Daphne (`runserver`)."""

import contextlib
import fcntl
import http.client
import os
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal
from urllib.parse import urlsplit

from tests.support import forking
from tests.support.databases import PostgresServer
from tests.support.environment import MEASURED, ROOT, plain_environment
from tests.support.forking import ForkedProcess
from tests.support.waiting import free_port, wait_until

ServerKind = Literal["uvicorn", "daphne"]
DatabaseKind = Literal["sqlite", "postgres"]
COMMAND_TIMEOUT = 60.0
START_TIMEOUT = 40.0
STOP_TIMEOUT = 40.0


def manage(*arguments: str, data_dir: Path, **changes: str) -> str:
    """Run a command of manage.py in the plain environment and return what it printed; fail if it does."""
    environment = plain_environment(data_dir, **changes)
    environment.pop(MEASURED, None)  # a command that only prepares something: measuring would cost a third of it
    done = forking.run(arguments, environment, COMMAND_TIMEOUT)
    assert done.returncode == 0, f"manage.py {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def model_settings(base_url: str) -> dict[str, str]:
    """Return the settings of a gateway that asks the model there."""
    return {"OPENAI_BASE_URL": base_url, "OPENAI_MODEL": "stub"}


@dataclass
class Templates:
    """Prepared databases, each migrated and bootstrapped once and then copied for every server.

    Processes that share the folder share what is prepared on SQLite; each has a PostgreSQL of its own.
    """

    folder: Path
    postgres_urls: dict[bool, str] = field(default_factory=dict)  # by whether there is a model

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def copy_sqlite(self, data_dir: Path, *, with_model: bool = False) -> str:
        """Put a prepared database, perhaps of a gateway `with_model`, into `data_dir` and return its URL."""
        source = self.folder / ("model" if with_model else "sqlite") / "gateway.sqlite3"
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go with the file
            if not (source.parent / "prepared").exists():
                self._prepare(source.parent, "", with_model=with_model)
                (source.parent / "prepared").touch()
        target = data_dir / source.name
        with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
            old.backup(new)
        return f"sqlite:///{target}"

    def copy_postgres(self, server: PostgresServer, *, with_model: bool = False) -> str:
        """Make a prepared database on `server`, always the same one, and return its URL."""
        if with_model not in self.postgres_urls:
            url = server.create_database()
            self._prepare(Path(mkdtemp(dir=self.folder)), url, with_model=with_model)
            self.postgres_urls[with_model] = url
        return server.create_database(template=self.postgres_urls[with_model])

    def _prepare(self, data_dir: Path, url: str, *, with_model: bool) -> None:
        data_dir.mkdir(exist_ok=True)
        settings = model_settings("http://127.0.0.1/v1") if with_model else {}
        manage("migrate", "--verbosity", "0", data_dir=data_dir, DATABASE_URL=url)
        manage("bootstrap", data_dir=data_dir, DATABASE_URL=url, **settings)


@dataclass
class GatewayProcess:
    """A gateway under test. Killed and started again, it keeps its port, its folder and its database.

    `environment` overrides settings by name. `allow_tracebacks` is for a test that makes one on purpose. `prefix` is
    put before the command, as `taskset -c 1`, which then starts as an operator starts it: nothing of it is forked.
    """

    data_dir: Path
    database_url: str
    redis_url: str = ""
    server: ServerKind = "uvicorn"
    workers: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    allow_tracebacks: bool = False
    prefix: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._log = self.data_dir / "server.log"
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that was started: with one worker the server itself, else the supervisor."""
        assert self._process is not None, "the gateway does not run"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it and, unless told otherwise, return once `/readyz` says 200."""
        command = ["serve"] if self.server == "uvicorn" else ["runserver", "--noreload", f"127.0.0.1:{self.port}"]
        self._process = self._begin_plainly(command) if self.prefix else self._fork(command)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Return once `/readyz` says 200; fail at once when the process has ended."""
        wait_until(self._is_ready, timeout=timeout, what="GET /readyz 200", detail=self.log)

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when the machine loses power."""
        self._kill_all()
        self._wait(STOP_TIMEOUT)

    def terminate(self, timeout: float = STOP_TIMEOUT) -> int:
        """Ask it to stop (SIGTERM), wait for it and its workers, and return its exit status."""
        assert self._process is not None, "the gateway does not run"
        self._process.terminate()
        return self._wait(timeout)

    def restart(self, *, gently: bool = False) -> None:
        """Kill it, or stop it `gently`, and start it again."""
        if gently:
            self.terminate()
        else:
            self.kill()
        self.start()

    def worker_pids(self) -> list[int]:
        """Return the processes that serve or are to: those that the supervisor told so, or the one there is."""
        if self.workers == 1:
            return [self.pid]
        told = self._named_by("worker.started")
        return [pid for pid in self._pids() if pid in told]

    def spare_pids(self) -> list[int]:
        """Return the processes that stand by for those that serve, and have imported everything."""
        waiting = self._named_by("spare.ready") - self._named_by("worker.started")
        return [pid for pid in self._pids() if pid in waiting]

    def log(self) -> str:
        """Return everything it has written so far, over all its lives."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End it in any case; fail when its log has a traceback that was not allowed."""
        if self._process is not None:
            self.terminate()
        assert self.allow_tracebacks or "Traceback" not in self.log(), f"a traceback in the log:\n{self.log()}"

    def _fork(self, command: list[str]) -> ForkedProcess:
        return ForkedProcess(command, self._environment(), output=self._log, errors=self._log)

    def _begin_plainly(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self.prefix, sys.executable, "manage.py", *command],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A terminal's Ctrl-C is for the tests, which then end it themselves.
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WORKERS": str(self.workers),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            **self.environment,
        }
        return plain_environment(self.data_dir, **settings)

    def _is_ready(self) -> bool:
        assert self._process is not None, "the gateway does not run"
        assert self._process.poll() is None, f"the gateway ended ({self._process.returncode}):\n{self.log()}"
        return get_status(f"{self.url}/readyz") == 200

    def _pids(self) -> list[int]:
        """Return every process of this gateway: the first, and by the folder in their environment those it started."""
        mark = f"\0DATA_DIR={self.data_dir}\0".encode()
        found = {self.pid} if self._process is not None and self._process.poll() is None else set()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # another user's, or ended while we looked
                if mark in b"\0" + environment.read_bytes():
                    found.add(int(environment.parent.name))
        return sorted(found)

    def _named_by(self, event: str) -> set[int]:
        """Return the processes that the log names with an event."""
        return {int(pid) for pid in re.findall(rf"{re.escape(event)} .*\bpid=(\d+)", self.log())}

    def _kill_all(self) -> None:
        # A supervisor that is stopped first cannot start a worker anew meanwhile.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self._pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        wait_until(lambda: not self._pids(), timeout=STOP_TIMEOUT, what="the end of its processes")

    def _wait(self, timeout: float) -> int:
        assert self._process is not None, "the gateway does not run"
        try:
            return self._process.wait(timeout)
        finally:
            # A worker must outlive neither its supervisor nor the test.
            self._kill_all()
            self._process.wait()
            self._process = None


def get_status(url: str) -> int:
    """Return the status of GET `url`, 0 when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
