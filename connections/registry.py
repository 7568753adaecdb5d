"""Who is here: this process's lease and its live connections, kept as rows that are true across processes.

A worker's `beat` counts up while it lives. Every other worker watches it by its own monotonic clock and ends it after
`lease` seconds without change, or at once when the lock that it held on a shared disk is free. A connection is live
while its row has no end and its worker lives.
"""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from connections import selectors
from connections.events import EndConnections
from connections.jobs import (
    PURGED_AT_ONCE,
    Activity,
    Beat,
    Close,
    ConnectionRow,
    EndWorker,
    Open,
    PurgeConnections,
    Register,
    Rename,
    Reopen,
    Touch,
)
from connections.lock import WorkerLock
from connections.metrics import GHOST, WORKER, Metrics
from connections.writer import Writer

log = structlog.get_logger(__name__)

STOP_PATIENCE = 3.0  # seconds that the ends of the last connections may take to be stored
RETRY_CLOSE = 1.0  # seconds before the end of a connection that could not be stored is tried again


class LeaseLimits(msgspec.Struct, frozen=True):
    """Seconds between two beats, without a change until a worker counts as dead, and between two looks.

    Connections that have ended are `kept_for` so long.
    """

    beat: float = 5.0
    lease: float = 20.0
    scan: float = 2.0
    kept_for: timedelta = timedelta(days=30)


End = Callable[[int, str], None]  # closes a socket with a code and a reason


class LiveConnection:
    """A socket of this process, with what it has carried, and how to `end` it."""

    __slots__ = ("bytes_in", "bytes_out", "dirty", "end", "last_active", "messages_in", "messages_out", "row")

    def __init__(self, row: ConnectionRow, end: End) -> None:
        self.row = row
        self.end = end
        self.last_active = time.time()
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.dirty = False

    def received(self, size: int) -> None:
        """Count a message that came in."""
        self.messages_in += 1
        self.bytes_in += size
        self.last_active = time.time()
        self.dirty = True

    def sent(self, size: int) -> None:
        """Count a message that went out."""
        self.messages_out += 1
        self.bytes_out += size
        self.dirty = True

    def activity(self) -> Activity:
        """Return the counters as they are now."""
        self.dirty = False
        return Activity(
            self.row.uuid, datetime.fromtimestamp(self.last_active, UTC), self.messages_in, self.messages_out,
            self.bytes_in, self.bytes_out,
        )  # fmt: skip


class Registry:
    """This process's lease, its connections, and its view of the other workers."""

    def __init__(
        self,
        writer: Writer,
        *,
        limits: LeaseLimits,
        lock_dir: Path,
        on_change: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        on_beat: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self.worker = uuid4()
        self.beat_at = time.monotonic()  # when our lease was counted up last
        self._metrics = metrics or Metrics()
        self._writer = writer
        self._limits = limits
        self._on_change = on_change  # of what the list of connections shows, once it is committed
        self._on_beat = on_beat  # hears how each beat went
        self._lock = WorkerLock(lock_dir)
        self._live: dict[UUID, LiveConnection] = {}
        self._scanned = 0.0
        self._seen: dict[UUID, tuple[int, float]] = {}  # worker → its beat and since when, by our clock
        self._beating: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_fenced: Callable[[], None] = lambda: None
        self._fenced = False  # others have ended our lease, and what is open is not yet under a new one

    @property
    def live(self) -> int:
        """The number of connections of this process."""
        return len(self._live)

    @property
    def by_wire(self) -> Counter[str]:
        """The number of connections of this process on each wire."""
        return Counter(live.row.wire for live in self._live.values())

    async def start(self, on_fenced: Callable[[], None]) -> None:
        """Take a lease and keep it; `on_fenced` is called when others have judged this worker dead."""
        self._on_fenced = on_fenced
        await self._register()
        self._metrics.count(WORKER, "started")
        self._beating = asyncio.get_running_loop().create_task(self._keep_beating())

    async def stop(self) -> None:
        """Give the lease back; whatever is still open under it ends."""
        if self._beating is not None:
            self._beating.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_PATIENCE)
        await self._writer.submit(EndWorker(self.worker, 1012, "server stopped"))
        self._lock.drop()

    async def open(self, row: ConnectionRow, end: End) -> LiveConnection:
        """Store a connection, which `end` closes, and return it once it is committed."""
        live = LiveConnection(row, end)
        self._live[row.uuid] = live
        try:
            await self._writer.submit(Open(row))
        except BaseException:
            del self._live[row.uuid]
            raise
        self._on_change()
        return live

    def open_soon(self, row: ConnectionRow, end: End) -> LiveConnection:
        """Return a connection that is stored soon: for a peer who waits for words, not for his row."""
        live = LiveConnection(row, end)
        self._live[row.uuid] = live
        self._spawn(self._store_once(Open(row)))
        return live

    def rename(self, live: LiveConnection, client: str, session: UUID) -> None:
        """Note who turned out to be at the other end, and in which session; stored soon."""
        self._spawn(self._store_once(Rename(live.row.uuid, client, session)))

    def close(self, live: LiveConnection, code: int, reason: str) -> None:
        """Note the end of a connection; stored soon, and until it is."""
        self._live.pop(live.row.uuid, None)
        self._spawn(self._store_end(Close(live.activity(), code, reason)))

    def on_request(self, event: Any) -> None:
        """Close those connections of this process that staff wants closed."""
        if isinstance(event, EndConnections):
            for uuid in event.connections:
                if (live := self._live.get(uuid)) is not None:
                    live.end(event.code, event.reason)

    def end_all(self, code: int, reason: str) -> None:
        """Close every connection of this process."""
        for live in tuple(self._live.values()):
            live.end(code, reason)

    async def scan(self) -> None:
        """Look at the other workers' leases and end the dead ones."""
        now = time.monotonic()
        beats = await self._writer.read(selectors.live_workers)
        beats.pop(self.worker, None)
        if now - self._scanned > 3 * self._limits.scan:
            # We were away, or the database was: how long the others have been silent is not known.
            self._seen = {}
        self._scanned = now
        seen = {
            worker: before if (before := self._seen.get(worker)) and before[0] == beat else (beat, now)
            for worker, beat in beats.items()
        }
        self._seen = seen
        for worker, (_, since) in seen.items():
            process_ended = self._lock.was_left_by(worker)
            is_dead = process_ended or now - since >= self._limits.lease
            if is_dead and await self.end_worker(worker):  # else another one saw it first, and says so
                log.warning("worker.lost", worker=str(worker), silent_for=round(now - since, 1), ended=process_ended)
                self._metrics.count(WORKER, "lost")

    async def purge(self) -> None:
        """Forget connections that ended too long ago."""
        purged = PURGED_AT_ONCE
        while purged == PURGED_AT_ONCE:
            purged = await self._writer.submit(PurgeConnections(timezone.now() - self._limits.kept_for))

    async def end_worker(self, worker: UUID) -> bool:
        """End a worker's lease and the connections that lived under it; tell whether it had one."""
        ended: int | None = await self._writer.submit(EndWorker(worker))
        self._metrics.count(GHOST, "cleared", ended or 0)
        self._lock.forget(worker)
        self._on_change()
        return ended is not None

    async def dead_among(self, workers: set[UUID]) -> set[UUID]:
        """Return those of `workers` whose lease has ended or never was."""
        return workers - await self._writer.read(selectors.live_among, workers)

    # --- Our own lease ---------------------------------------------------------------------------

    async def beat(self) -> bool:
        """Count our lease up; tell whether it is still ours. A write that is stored, so a look at the database too."""
        is_ours: bool = await self._writer.submit(Beat(self.worker))
        return is_ours

    async def _register(self) -> None:
        self._lock.take(self.worker)
        await self._writer.submit(Register(self.worker, socket.gethostname(), os.getpid()))
        self.beat_at = time.monotonic()
        log.info("worker.registered", worker=str(self.worker), pid=os.getpid())

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._limits.beat)
            try:
                if self._fenced or not await self.beat():
                    await self._begin_again()
                self.beat_at = time.monotonic()
                await self._flush()
            except Exception as error:  # noqa: BLE001  the database is away: the next beat tries again
                self._on_beat(error)
            else:
                self._on_beat(None)

    async def _begin_again(self) -> None:
        """Take a new lease after others ended ours (this process was stopped for long), and re-enter what is open."""
        log.warning("worker.fenced", worker=str(self.worker), connections=len(self._live))
        self._metrics.count(WORKER, "fenced")
        self._fenced = True
        self._lock.drop()
        self.worker = uuid4()
        self._on_fenced()
        await self._register()
        await self._writer.submit(Reopen(self.worker, tuple(self._live)))
        self._fenced = False
        self._on_change()

    async def _flush(self) -> None:
        dirty = [live for live in self._live.values() if live.dirty]
        if dirty:
            try:
                await self._writer.submit(Touch(tuple(live.activity() for live in dirty)))
            except BaseException:
                for live in dirty:
                    live.dirty = True
                raise

    async def _store_once(self, job: Open | Rename) -> None:
        """Store what only staff's list would miss. It is not tried again: that could come after the end."""
        try:
            await self._writer.submit(job)
        except Exception as error:  # noqa: BLE001  the database is away: the connection itself goes on
            log.warning("connection.not_listed", job=type(job).__name__, reason=str(error))
        else:
            self._on_change()

    async def _store_end(self, close: Close) -> None:
        while True:
            try:
                await self._writer.submit(close)
            except Exception as error:  # noqa: BLE001  whatever it was, the row must get its end
                if _is_hopeless(error):
                    # Without its traceback: the store has logged that.
                    log.error("connection.end_lost", connection_id=str(close.activity.uuid), reason=str(error))  # noqa: TRY400
                    return
                log.warning("connection.end_not_stored", reason=str(error))
                await asyncio.sleep(RETRY_CLOSE)
            else:
                self._on_change()
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_hopeless(error: Exception) -> bool:
    """Tell whether the database works and refuses the job itself, as it would whenever it is sent."""
    cause = error.__cause__
    return cause is not None and not isinstance(cause, (OperationalError, InterfaceError))
