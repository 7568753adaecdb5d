"""Several workers on one listening socket: started, watched, replaced, and ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

END_PATIENCE = 40.0  # seconds after SIGTERM before a worker is killed; its answers get 25 s
RESPAWN_PAUSE = 1.0  # seconds between two starts of a worker that does not live LEAST_LIFE seconds
LEAST_LIFE = 5.0


class Supervisor:
    """Keeps `count` workers running until a signal; a second signal kills them."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        self._listener = listener
        self._count = count
        self._workers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._signals = 0
        # Workers hold the reading end: when this process is gone, however it went, they see its end and stop.
        self._life, self._own_life = os.pipe()

    def run(self) -> int:
        """Supervise until told to stop; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for _ in range(self._count):
            self._spawn()
        while not self._signals:
            self._replace_ended()
            time.sleep(0.1)
        return self._end()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _spawn(self) -> None:
        descriptor = self._listener.fileno()
        worker = subprocess.Popen(
            [sys.executable, sys.argv[0], "serve", "--listener", str(descriptor), "--life", str(self._life)],
            pass_fds=(descriptor, self._life),
            start_new_session=True,  # a terminal's Ctrl-C comes here only, and is handed on as SIGTERM
        )
        self._workers[worker.pid] = (worker, time.monotonic())
        log.info("worker.started", pid=worker.pid)

    def _replace_ended(self) -> None:
        for pid, (worker, started) in list(self._workers.items()):
            status = worker.poll()
            if status is None:
                continue
            del self._workers[pid]
            log.warning("worker.ended", pid=pid, status=status)
            if time.monotonic() - started < LEAST_LIFE:
                time.sleep(RESPAWN_PAUSE)
            if not self._signals:
                self._spawn()

    def _end(self) -> int:
        for worker, _ in self._workers.values():
            worker.terminate()
        deadline = time.monotonic() + END_PATIENCE
        while any(worker.poll() is None for worker, _ in self._workers.values()):
            if self._signals > 1 or time.monotonic() > deadline:
                for worker, _ in self._workers.values():
                    worker.kill()
            time.sleep(0.05)
        return 0
