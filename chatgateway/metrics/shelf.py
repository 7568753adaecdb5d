"""The snapshots of this machine's workers, each in a file that its worker writes anew every second.

Whoever is asked for the metrics reads all of them. A worker holds a lock while it lives, so that it is known which of
them still do: of those that ended the counts stay, and the gauges go. What a worker has told is on the shelf before it
is told: no counter goes back when it is killed the moment after.

A worker that starts adds those that ended to one file, and removes theirs: there are as many files as workers.
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar
from uuid import uuid4

import msgspec

from chatgateway.metrics.snapshot import Snapshot, Totals, together

ENDED = "ended"  # the file with the counts of those that ended
T = TypeVar("T")


class Ended(msgspec.Struct, frozen=True):
    """What those that ended have counted; the files of `workers` are in it, though they may not be removed yet."""

    totals: Totals = Totals()
    workers: frozenset[str] = frozenset()


class Shelf:
    """One worker's place on the shelf, and its view of the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = str(uuid4())
        self._lock: IO[str] | None = None
        self._putting = threading.Lock()  # a round and a scrape put at the same time, in threads

    def put(self, snapshot: Snapshot) -> None:
        """Write this worker's snapshot in place of the one before; the first finds the worker a place."""
        with self._putting:
            if self._lock is None:
                self._take_place()
            self._write(self._name, msgspec.json.encode(snapshot))

    def look(self) -> tuple[Totals, list[Snapshot]]:
        """Return what those that ended have counted, and the newest snapshot of each that lives but this one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            ended, left, live = self._all()
            return together([ended.totals, *(snapshot.totals for snapshot in left.values())]), live

    def leave(self) -> None:
        """Count as ended from now on."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- In the folder ---------------------------------------------------------------------------

    def _take_place(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._clear()
            lock = (self._folder / f"{self._name}.lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a file of one's own: there is nobody to wait for
            self._lock = lock

    def _clear(self) -> None:
        """Add those that ended to the one file of them, then remove theirs."""
        ended, left, _ = self._all()
        totals = together([ended.totals, *(snapshot.totals for snapshot in left.values())])
        gone = {lock.stem for lock in self._folder.glob("*.lock") if not self._lives(lock)}
        self._write(ENDED, msgspec.json.encode(Ended(totals, frozenset(gone))))
        for name in gone:
            for path in self._folder.glob(f"{name}.*"):
                path.unlink()

    def _all(self) -> tuple[Ended, dict[str, Snapshot], list[Snapshot]]:
        """Return what was added up, the snapshots of those that ended since, and of those that live."""
        ended = _read(self._folder / f"{ENDED}.json", Ended) or Ended()
        left: dict[str, Snapshot] = {}
        live: list[Snapshot] = []
        for lock in self._folder.glob("*.lock"):
            if lock.stem == self._name or lock.stem in ended.workers:
                continue
            lives = self._lives(lock)
            snapshot = _read(lock.with_suffix(".json"), Snapshot)
            if snapshot is not None and lives:
                live.append(snapshot)
            elif snapshot is not None:
                left[lock.stem] = snapshot
        return ended, left, live

    def _lives(self, path: Path) -> bool:
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def _write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, also when this process is killed meanwhile."""
        new = self._folder / f"{name}.new"
        new.write_bytes(data)
        new.replace(self._folder / f"{name}.json")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the others from adding up and from reading: between them a count would be there twice, or not at all."""
        with (self._folder / "shelf").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(path: Path, kind: type[T]) -> T | None:
    """Return what a file holds; None where it is gone, or was broken with the machine."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
