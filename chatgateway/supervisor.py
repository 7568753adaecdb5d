"""Several workers, each with a listening socket of its own: started, watched, replaced, and ended together.

The sockets stay open here. What arrives for a worker that died waits in its socket for the one that replaces it. In a
rolling restart the new worker and the old one share a socket, so nobody is refused.

One more process, the spare, has imported everything and waits: it takes the place of a worker that dies, at once
(docs/decisions/0013). A rolling restart begins with new processes, and a new spare follows it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

READY_PATIENCE = 60.0  # seconds that a new worker may take until it serves; else the old one goes on
RESPAWN_PAUSE = 1.0  # seconds before a worker that did not live LEAST_LIFE seconds is replaced
LEAST_LIFE = 5.0
SPARE_AFTER = 5.0  # seconds that workers serve before a spare is prepared: clients who come back have the CPU first
LOADED, SERVES = b"0", b"1"


class Worker:
    """A process that imports everything, and serves once it is sent a listener.

    It holds the writing end of a pipe: LOADED says that it has imported everything; SERVES, that it serves; the pipe's
    end, that it takes no more connections, told to or dead.
    """

    def __init__(self, *, life: int, environment: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        self.serves: asyncio.Future[bool] = loop.create_future()
        self.over = asyncio.Event()
        self.ended = asyncio.Event()
        self._told = False
        self._began: float | None = None
        self._orders, its_orders = socket.socketpair()
        self._news, its_news = os.pipe()
        descriptors = {"--orders": its_orders.fileno(), "--life": life, "--news": its_news}
        options = [word for name, descriptor in descriptors.items() for word in (name, str(descriptor))]
        try:
            self._process = subprocess.Popen(
                [sys.executable, sys.argv[0], "serve", *options],
                env=environment,
                pass_fds=tuple(descriptors.values()),
                start_new_session=True,  # a terminal's Ctrl-C comes to the supervisor only, who hands on SIGTERM
            )
        except OSError:
            self._orders.close()
            os.close(self._news)
            raise
        finally:
            its_orders.close()
            os.close(its_news)
        loop.add_reader(self._news, self._hear)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was told to serve."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def serve(self, listener: socket.socket) -> None:
        """Have it serve on `listener`; raise OSError where it is gone."""
        with self._orders:
            socket.send_fds(self._orders, [b"1"], [listener.fileno()])
        self._began = time.monotonic()
        log.info("worker.started", pid=self.pid)

    @property
    def is_serving(self) -> bool:
        """Whether it has said that it serves, and not yet ended."""
        return self.serves.done() and self.serves.result() and not self.over.is_set()

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
            self._orders.close()
            event = "spare.ended" if self._began is None else "worker.ended"
            (log.info if self._told else log.warning)(event, pid=self.pid, status=status)

    def _hear(self) -> None:
        news = os.read(self._news, 1)
        if news == LOADED:
            if self._began is None:
                log.info("spare.ready", pid=self.pid)
            return
        if news == SERVES:
            log.info("worker.ready", pid=self.pid, seconds=round(self.age, 2))
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
    are started with `environment`, and killed where they still run `patience` seconds after they were told to stop. A
    spare is prepared once workers have served for `spare_after` seconds.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        environment: Mapping[str, str],
        patience: float,
        ready_within: float = READY_PATIENCE,
        spare_after: float = SPARE_AFTER,
    ) -> None:
        self._listeners = listeners
        self._environment = environment
        self._patience = patience
        self._ready_within = ready_within
        self._spare_after = spare_after
        # Workers hold the reading end: when this process is gone, however it went, they see its end and stop.
        self._life, self._own_life = os.pipe()
        self._workers: set[Worker] = set()  # all that run, also the spare and those that are on their way out
        self._places: list[Place] = []
        self._spare: Worker | None = None
        self._is_restarting = False
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
        self._places = [Place(listener, self._start(listener)) for listener in self._listeners]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(place)) for place in self._places]
            tasks.append(group.create_task(self._restart_when_told()))
            await self._told.wait()
            for task in tasks:
                task.cancel()
        for listener in self._listeners:
            listener.close()  # who comes now is refused, and does not wait for nobody
        await self._stop(self._workers)

    def _on_told(self) -> None:
        if self._told.is_set():
            log.warning("server.killed", means="a second signal came: answers and sockets are cut off")
            for worker in self._workers:
                worker.kill()
        else:
            log.info("server.stopping", workers=len(self._places), seconds=self._patience)
        self._told.set()

    def _start(self, listener: socket.socket) -> Worker:
        """Have the spare serve, or a new worker where there is none."""
        spare, self._spare = self._spare, None
        if spare is not None:
            with suppress(OSError):  # it has ended
                spare.serve(listener)
                return spare
        worker = self._make()
        worker.serve(listener)
        return worker

    def _make(self) -> Worker:
        worker = Worker(life=self._life, environment=self._environment)
        self._workers.add(worker)
        return worker

    def _make_spare(self) -> None:
        """Begin to prepare a spare, once it takes no CPU from a worker that is to serve.

        One that ends by itself is not replaced before a worker is: there may be no memory for it, or no code.
        """
        if self._spare is not None or self._is_restarting or not all(place.worker.is_serving for place in self._places):
            return
        try:
            self._spare = self._make()
        except OSError as error:
            log.error("spare.not_started", reason=str(error))  # noqa: TRY400  the reason says it all
            return
        log.info("spare.started", pid=self._spare.pid)

    def _dismiss_spare(self) -> None:
        """End the spare, whose code and environment are of its start."""
        if self._spare is not None:
            self._spare.stop()
            self._spare = None

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
            await asyncio.wait({worker.serves})
            if worker.serves.result():
                with suppress(TimeoutError):
                    await asyncio.wait_for(worker.over.wait(), self._spare_after)
            if not worker.over.is_set():
                self._make_spare()
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

    async def _restart_when_told(self) -> None:
        while True:
            await self._restart.wait()
            self._restart.clear()  # told once more meanwhile, it begins once more
            log.info("rolling_restart.begun")
            self._is_restarting = True
            self._dismiss_spare()
            for place in self._places:
                if not await self._replace(place):
                    log.error("rolling_restart.stopped", means="a new worker did not come up; the old ones go on")
                    break
            else:
                log.info("rolling_restart.done")
            self._is_restarting = False
            self._make_spare()

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
