"""What this app needs of whoever writes for it: the store, handed over by the composition root."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Writer(Protocol):
    """Writes jobs in group commits and reads in threads."""

    def submit(self, job: Any) -> "asyncio.Future[Any]":
        """Queue a job; the future ends after its COMMIT."""
        ...

    def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Run a synchronous query in a thread."""
        ...
