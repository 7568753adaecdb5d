"""Several workers, each with a listening socket of its own: started, watched, replaced, and ended together.

The sockets stay open here. What arrives for a worker that died waits in its socket for the one that replaces it. In a
rolling restart the new worker and the old one share a socket, so nobody is refused.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

READY_PATIENCE = 60.0  # seconds that a new worker may take until it serves; else the old one goes on
RESPAWN_PAUSE = 1.0  # seconds before a worker that did not live LEAST_LIFE seconds is replaced
LEAST_LIFE = 5.0


class Worker:
    """A process that serves on one listener.

    It holds the writing end of a pipe: a byte says that it serves; the pipe's end, that it takes no more connections,
    told to or dead.
    """

    def __init__(self, listener: socket.socket, *, life: int, environment: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        self.serves: asyncio.Future[bool] = loop.create_future()
        self.over = asyncio.Event()
        self.ended = asyncio.Event()
        self._told = False
        self._began = time.monotonic()
        self._news, its_end = os.pipe()
        descriptors = {"--listener": listener.fileno(), "--life": life, "--news": its_end}
        options = [word for name, descriptor in descriptors.items() for word in (name, str(descriptor))]
        try:
            self._process = subprocess.Popen(
                [sys.executable, sys.argv[0], "serve", *options],
                env=environment,
                pass_fds=tuple(descriptors.values()),
                start_new_session=True,  # a terminal's Ctrl-C comes to the supervisor only, who hands on SIGTERM
            )
        except OSError:
            os.close(self._news)
            raise
        finally:
            os.close(its_end)
        loop.add_reader(self._news, self._hear)
        log.info("worker.started", pid=self._process.pid)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    def stop(self) -> None:
        """Tell it to stop."""
        self._told = True
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._told = True
        self._process.kill()

    def reap(self) -> None:
        """Note its end, where it has come."""
        status = self._process.poll()
        if status is not None and not self.ended.is_set():
            self.ended.set()
            (log.info if self._told else log.warning)("worker.ended", pid=self._process.pid, status=status)

    def _hear(self) -> None:
        if os.read(self._news, 1):
            log.info("worker.ready", pid=self._process.pid, seconds=round(self.age, 2))
            self.serves.set_result(True)
            return
        asyncio.get_running_loop().remove_reader(self._news)
        os.close(self._news)
        if not self.serves.done():
            self.serves.set_result(False)
        self.over.set()


@dataclass
class Place:
    """A listener, and the worker that is to serve on it."""

    listener: socket.socket
    worker: Worker


class Supervisor:
    """Keeps a worker running on each of `listeners` until a signal; a second signal kills them.

    SIGHUP puts new ones in their places, one after another, so far as they serve within `ready_within` seconds. They
    are started with `environment`, and killed where they still run `patience` seconds after they were told to stop.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        environment: Mapping[str, str],
        patience: float,
        ready_within: float = READY_PATIENCE,
    ) -> None:
        self._listeners = listeners
        self._environment = environment
        self._patience = patience
        self._ready_within = ready_within
        # Workers hold the reading end: when this process is gone, however it went, they see its end and stop.
        self._life, self._own_life = os.pipe()
        self._workers: set[Worker] = set()  # all that run, also those that are on their way out
        self._told = asyncio.Event()
        self._restart = asyncio.Event()

    def run(self) -> None:
        """Supervise until told to stop."""
        asyncio.run(self._supervise())

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGHUP, self._restart.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_told)
        places = [Place(listener, self._start(listener)) for listener in self._listeners]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(place)) for place in places]
            tasks.append(group.create_task(self._restart_when_told(places)))
            await self._told.wait()
            for task in tasks:
                task.cancel()
        for listener in self._listeners:
            listener.close()  # who comes now is refused, and does not wait for nobody
        await self._stop(self._workers)

    def _on_told(self) -> None:
        if self._told.is_set():
            for worker in self._workers:
                worker.kill()
        self._told.set()

    def _start(self, listener: socket.socket) -> Worker:
        worker = Worker(listener, life=self._life, environment=self._environment)
        self._workers.add(worker)
        return worker

    async def _stop(self, workers: Iterable[Worker]) -> None:
        """Tell workers to stop, wait for their end, and kill those that take too long."""
        deadline = asyncio.get_running_loop().time() + self._patience
        stopping = tuple(workers)
        for worker in stopping:
            worker.stop()
        for worker in stopping:
            try:
                async with asyncio.timeout_at(deadline):
                    await worker.ended.wait()
            except TimeoutError:
                worker.kill()
                await worker.ended.wait()

    def _reap(self) -> None:
        for worker in self._workers:
            worker.reap()
        self._workers = {worker for worker in self._workers if not worker.ended.is_set()}

    async def _keep(self, place: Place) -> None:
        """Replace the worker of a place whenever it is over."""
        while True:
            worker = place.worker
            await worker.over.wait()
            if worker.age < LEAST_LIFE:
                await asyncio.sleep(RESPAWN_PAUSE)
            if place.worker is not worker:
                continue  # a rolling restart has replaced it
            try:
                place.worker = self._start(place.listener)
            except OSError as error:  # no memory, no descriptors: there may be some later
                log.error("worker.not_started", reason=str(error))  # noqa: TRY400  the reason says it all
                await asyncio.sleep(RESPAWN_PAUSE)

    # --- A rolling restart -----------------------------------------------------------------------

    async def _restart_when_told(self, places: Sequence[Place]) -> None:
        while True:
            await self._restart.wait()
            self._restart.clear()  # told once more meanwhile, it begins once more
            log.info("rolling_restart.begun")
            for place in places:
                if not await self._replace(place):
                    log.error("rolling_restart.stopped", means="a new worker did not come up; the old ones go on")
                    break
            else:
                log.info("rolling_restart.done")

    async def _replace(self, place: Place) -> bool:
        """Put a new worker in the place of one that serves until then; tell whether it came up."""
        try:
            new = self._start(place.listener)
        except OSError as error:
            log.error("worker.not_started", reason=str(error))  # noqa: TRY400  the reason says it all
            return False
        await asyncio.wait({new.serves}, timeout=self._ready_within)
        if not new.serves.done() or not new.serves.result():
            new.kill()
            return False
        old, place.worker = place.worker, new
        await self._stop([old])
        return True
