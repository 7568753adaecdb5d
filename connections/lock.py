"""The lock that tells of a worker's end: a file's, which the kernel frees however a process dies."""

import fcntl
from pathlib import Path
from typing import IO
from uuid import UUID


class WorkerLock:
    """This process's lock, and its view of those of other workers that have theirs in the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: tuple[Path, IO[str]] | None = None

    def take(self, worker: UUID) -> None:
        """Take the lock of `worker`, which is this process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(worker)
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held = (path, file)

    def drop(self) -> None:
        """Give it back."""
        if self._held is not None:
            path, file = self._held
            path.unlink(missing_ok=True)
            file.close()
            self._held = None

    def was_left_by(self, worker: UUID) -> bool:
        """Tell whether a worker that locked a file on this disk holds it no more."""
        try:
            with self._path(worker).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is held, or it lies on another machine's disk
            return False
        return True

    def forget(self, worker: UUID) -> None:
        """Remove the file of a worker that has ended."""
        self._path(worker).unlink(missing_ok=True)

    def _path(self, worker: UUID) -> Path:
        return self._folder / f"{worker}.lock"
