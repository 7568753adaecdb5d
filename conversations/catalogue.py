"""The pipelines as this process knows them: read once, followed by a poll, never in a socket's way."""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from conversations import selectors
from conversations.responders.base import PipelineConfig

R = TypeVar("R")
# A pipeline that was not found is looked for in the database again after this many seconds at the earliest,
# so that a client with a wrong address costs no query per attempt.
LOOK_AGAIN = 0.5


class Reader(Protocol):
    """Runs a synchronous query in a thread."""

    def read(self, function: Callable[[], R]) -> Awaitable[R]: ...


class Catalogue:
    """A snapshot of every pipeline and its routes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pipelines: dict[UUID, PipelineConfig] = {}
        self._read_at = 0.0

    async def refresh(self) -> None:
        """Read the pipelines anew."""
        self._read_at = time.monotonic()
        self._pipelines = await self._reader.read(selectors.pipeline_configs)

    def get(self, uuid: UUID) -> PipelineConfig | None:
        """Return the pipeline as last read."""
        return self._pipelines.get(uuid)

    async def find(self, named: str) -> PipelineConfig | None:
        """Return the pipeline that a path names, looked up in the database where the snapshot has none."""
        try:
            uuid = UUID(named)
        except ValueError:
            return None
        if uuid not in self._pipelines and time.monotonic() - self._read_at >= LOOK_AGAIN:
            await self.refresh()
        return self._pipelines.get(uuid)

    def default(self) -> PipelineConfig | None:
        """Return the pipeline that answers where nothing names one."""
        return next((pipeline for pipeline in self._pipelines.values() if pipeline.is_default), None)

    def all(self) -> list[PipelineConfig]:
        """Return every pipeline, by name."""
        return sorted(self._pipelines.values(), key=lambda pipeline: (pipeline.name, pipeline.id))
