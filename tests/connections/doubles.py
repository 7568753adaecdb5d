"""What hub, room and relay are tested with: events, members, a database, a layer that refuses."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer

from connections.hub import Hub, Membership
from connections.relay import Codec
from connections.room import Event

PATIENCE = 15.0


class Said(msgspec.Struct, frozen=True):
    """An event: with a place in the order, or a delta without one."""

    seq: int | None
    text: str = ""
    part_of: int = 0
    ends: int = 0


class Talk(msgspec.Struct, frozen=True):
    """A topic: what is said in one place."""

    name: str = "客服/1"


class JsonCodec(Codec):
    def encode(self, event: Any) -> bytes:
        return msgspec.json.encode(event)

    def decode(self, data: bytes) -> Event:
        return msgspec.json.decode(data, type=Said)


class Recorder:
    """A member that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.losses = 0
        self._changed = asyncio.Event()

    def push(self, frame: Any) -> None:
        self.told.append(frame)
        self._changed.set()

    def lost(self) -> None:
        self.losses += 1

    async def until(self, *frames: Any) -> None:
        """Wait until exactly these have been told."""
        await self.when(lambda: self.told == list(frames))

    async def when(self, condition: Callable[[], bool]) -> None:
        assert await self.within(PATIENCE, condition), f"told {self.told} only"

    async def within(self, seconds: float, condition: Callable[[], bool]) -> bool:
        """Tell whether `condition` comes true in that time."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Database:
    """What gaps are filled from; `failures` readings fail first. `newest` is what it tells beyond its events."""

    def __init__(self, *events: Said, failures: int = 0, newest: int = 0) -> None:
        self.events = list(events)
        self.failures = failures
        self.newest = newest
        self.asked: list[int] = []
        self.looks: list[list[Any]] = []
        self._looked = asyncio.Event()

    async def fill(self, topic: Any, after: int) -> Sequence[Event]:
        self.asked.append(after)
        self._fail()
        return [event for event in self.events if (event.seq or 0) > after]

    async def latest(self, topics: Sequence[Any]) -> dict[Any, int]:
        self.looks.append(list(topics))
        self._looked.set()
        self._fail()
        newest = max([self.newest, *(event.seq or 0 for event in self.events)])
        return {topic: newest for topic in topics if newest}

    async def until_looked(self, more: int = 1) -> None:
        """Wait until it has been asked how far topics have got, so many times more."""
        wanted = len(self.looks) + more
        async with asyncio.timeout(PATIENCE):
            while len(self.looks) < wanted:
                self._looked.clear()
                await self._looked.wait()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")


class StubbornLayer(InMemoryChannelLayer):
    """A layer whose groups cannot be joined until it is `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.refused = asyncio.Event()

    async def group_add(self, group: str, channel: str) -> None:
        if not self.open.is_set():
            self.refused.set()
            raise ConnectionError("away")
        await super().group_add(group, channel)


def as_text(event: Any) -> Any:
    return event.text or event.seq


def enter(hub: Hub, member: Recorder, after: int | None = 0, encode: Any = as_text) -> Membership:
    """Make `member` a live member of the room."""
    membership = hub.join(Talk(), member, encode)
    membership.go_live(after)
    return membership
