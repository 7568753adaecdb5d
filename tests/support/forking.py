"""`manage.py` in processes forked from a server that has imported the libraries already; a start costs a third.

The fork server is Python's own (`multiprocessing`); each process of the suite has one. What it forks is a process like
any other: own pid, session, environment, output, signals and exit status, and it imports everything of ours itself.
Three things differ: its parent is the fork server, `/proc/<pid>/environ` shows the fork server's environment, and it
ends without taking its modules apart. Workers that a gateway starts itself are started as in production.
"""

import atexit
import functools
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import coverage

from tests.support.environment import MEASURED, ROOT

# What takes long to import and reads no setting, opens no socket and no event loop, starts no thread.
# Not daphne.server: it installs its event loop when it is imported.
PRELOADED = (
    "PIL.Image",
    "anyio",
    "autobahn.twisted.websocket",
    "channels.generic.websocket",
    "channels_redis.pubsub",
    "coverage",
    "django.contrib.admindocs.views",
    "django.core.asgi",
    "django.core.management.commands.runserver",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.test",
    "django_structlog.middlewares",
    "drf_spectacular.utils",
    "environ",
    "h11",
    "httpcore2",
    "httpx2",
    "limits",
    "markdown_it",
    "msgspec",
    "nh3",
    "prometheus_client",
    "psycopg_pool",
    "regex",
    "rjieba",
    "servestatic.middleware",
    "smtplib",
    "structlog",
    "twisted.internet.asyncioreactor",
    "twisted.web.http",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
)


class ForkedProcess:
    """`manage.py` with `arguments` in `environment`, adding to two files; to its owner it is a `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, output: Path, errors: Path) -> None:
        # As a daemon it ends with the tests, if it was forgotten.
        self._process = _forks().Process(target=_run, args=(arguments, environment, output, errors), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def run(arguments: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Return what came of `manage.py` with `arguments`; it is killed after `timeout` seconds."""
    with tempfile.TemporaryDirectory(prefix="gateway-run-") as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = ForkedProcess(arguments, environment, output=output, errors=errors)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())


@functools.cache
def _forks() -> ForkServerContext:
    """Start the fork server, where no settings can be found and nothing is measured."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    kept = {name: os.environ.pop(name) for name in (MEASURED, "DJANGO_SETTINGS_MODULE") if name in os.environ}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.update(kept)
    return context


def _run(arguments: Sequence[str], environment: Mapping[str, str], output: Path, errors: Path) -> None:
    """Become `python manage.py` with `arguments`."""
    gc.freeze()  # what was imported before the fork: a collection would touch, and so copy, all of it
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for path, descriptor in ((output, 1), (errors, 2)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["manage.py", *arguments]
    sys.path.insert(0, str(ROOT))
    try:
        if environment.get(MEASURED):
            coverage.process_startup()
        runpy.run_path("manage.py", run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out
