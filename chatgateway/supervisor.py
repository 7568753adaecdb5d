"""Several workers, each with a listening socket of its own: started, watched, replaced, and ended together.

The sockets stay open here. What arrives for a worker that died waits in its socket for the one that replaces it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

END_PATIENCE = 40.0  # seconds after SIGTERM before a worker is killed; its answers get 25 s
RESPAWN_PAUSE = 1.0  # seconds between two starts of a worker that does not live LEAST_LIFE seconds
LEAST_LIFE = 5.0
LOOK = 0.05  # seconds between two looks at the workers, which cannot tell us more than that they ended


class Supervisor:
    """Keeps a worker running on each of `listeners` until a signal; a second signal kills them."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._workers: dict[socket.socket, tuple[subprocess.Popen[bytes], float]] = {}
        self._signals = 0
        # Workers hold the reading end: when this process is gone, however it went, they see its end and stop.
        self._life, self._own_life = os.pipe()

    def run(self) -> int:
        """Supervise until told to stop; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for listener in self._listeners:
            self._spawn(listener)
        while not self._signals:
            self._replace_ended()
            time.sleep(LOOK)
        return self._end()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _spawn(self, listener: socket.socket) -> None:
        descriptor = listener.fileno()
        worker = subprocess.Popen(
            [sys.executable, sys.argv[0], "serve", "--listener", str(descriptor), "--life", str(self._life)],
            pass_fds=(descriptor, self._life),
            start_new_session=True,  # a terminal's Ctrl-C comes here only, and is handed on as SIGTERM
        )
        self._workers[listener] = (worker, time.monotonic())
        log.info("worker.started", pid=worker.pid)

    def _replace_ended(self) -> None:
        for listener, (worker, started) in list(self._workers.items()):
            status = worker.poll()
            if status is None:
                continue
            log.warning("worker.ended", pid=worker.pid, status=status)
            if time.monotonic() - started < LEAST_LIFE:
                time.sleep(RESPAWN_PAUSE)
            if not self._signals:
                self._spawn(listener)

    def _end(self) -> int:
        for worker, _ in self._workers.values():
            worker.terminate()
        deadline = time.monotonic() + END_PATIENCE
        while any(worker.poll() is None for worker, _ in self._workers.values()):
            if self._signals > 1 or time.monotonic() > deadline:
                for worker, _ in self._workers.values():
                    worker.kill()
            time.sleep(LOOK)
        return 0
