"""A lane of threads that read: so many at once, so many that wait, and none that is waited for when nothing moves."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Full
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Hangs(Exception):  # noqa: N818  names a state
    """What was to be read did not come in time, nor anything else of what was before it."""


class _Read(Generic[R]):
    """Something to read, and when a thread began with it."""

    def __init__(self, function: Callable[[], R]) -> None:
        self.began: float | None = None
        self._function = function

    def __call__(self) -> R:
        self.began = time.monotonic()
        return self._function()


class Lane:
    """`threads` that read, and how many reads may wait for them."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._room = threads + waiting
        self._moved = 0.0  # when the last read ended

    async def run(self, function: Callable[[], R], patience: float | None) -> R:
        """Run `function` in a thread; who leaves has left: it runs all the same. Raises Full where too many wait.

        Raises Hangs `patience` seconds after it began; while it waits in line, after anything last moved there.
        """
        if not self._room:
            raise Full
        self._room -= 1
        read, asked = _Read(function), time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(self._threads, read)
        future.add_done_callback(self._leave)
        while not future.done():
            since = read.began or max(self._moved, asked)
            left = None if patience is None else since + patience - time.monotonic()
            if left is not None and left <= 0:
                raise Hangs
            await asyncio.wait([future], timeout=left)
        return future.result()

    def _leave(self, future: "asyncio.Future[Any]") -> None:
        self._room += 1
        self._moved = time.monotonic()
        if not future.cancelled():
            future.exception()  # looked at: where the asker has left, nobody else will

    def stop(self) -> None:
        """Wait for what runs, and end the threads."""
        self._threads.shutdown(wait=True)
