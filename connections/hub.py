"""Fan-out: topics → the sockets of this process, and over the Channels layer to the other processes.

    publish ─► Hub ─┬─► Room (one a topic with members here): order, gaps ─┬─► Membership ─► socket
                    │     ▲             ▲                                  └─► Membership ─► socket
                    │     │ tell        └─ fill, latest: the database
                    └─► Relay (one a process): groups, sending, listening ◄─► Channels layer ◄─► other processes

An event is encoded once per wire and the same frame is handed to every member; `group_send` of an `envelope` from
ordinary code reaches every member too.

The layer is a wake-up; the database is the truth. What the layer lost shows as a gap when something later comes. That
nothing later may come is why, where the layer is shared, every LOOK seconds the database is asked how far the topics
here have got.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from connections.relay import Codec, Layer, Relay
from connections.room import Counts, Encoder, Fill, Member, Membership, Room, Topic

__all__ = ["Encoder", "Hub", "Member", "Membership", "Topic"]  # what a wire needs

LOOK = 2.0  # seconds between two looks for what the layer lost
ON_ITS_WAY = 1.0  # seconds that what the database has already may still take over the layer
LOOKED_AT = 500  # topics of one query
FILLED_AT_ONCE = 4
STOP_RETRY = 0.5  # seconds after which what has not stopped is told so again

Latest = Callable[[Sequence[Any]], Awaitable[Mapping[Any, int]]]  # topics → the newest `seq` of those that have one


class _Watcher:
    """A member that is a function."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.push = tell

    def lost(self) -> None:
        raise AssertionError("a watcher is never paused")


def _as_it_is(event: Any) -> Any:
    return event


class Hub:
    """The process's hub. `shared` tells that other processes listen on the layer."""

    def __init__(
        self,
        layer: Layer,
        codec: Codec,
        *,
        shared: bool,
        fill: Fill,
        latest: Latest,
        look: float = LOOK,
        on_its_way: float = ON_ITS_WAY,
        on_look: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self.counts = Counts()
        self._shared = shared
        self._fill = fill
        self._latest = latest
        self._look_every = look
        self._on_its_way = on_its_way
        self._on_look = on_look  # hears how each look went
        self._relay = Relay(layer, codec, self.counts)
        self._rooms: dict[Topic, Room] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen on the layer; where it cannot be reached, keep trying and go on without it."""
        work: list[Coroutine[Any, Any, None]] = [self._relay.listen(), self._relay.keep_groups(), self._relay.send()]
        if self._shared:
            work.append(self._look())
        self._tasks = {asyncio.get_running_loop().create_task(coroutine) for coroutine in work}

    async def stop(self) -> None:
        """Leave the layer."""
        going = self._tasks
        while going:  # the layer's client may swallow a cancellation
            for task in going:
                task.cancel()
            _, going = await asyncio.wait(going, timeout=STOP_RETRY)
        for room in self._rooms.values():
            room.close()

    def join(self, topic: Topic, member: Member, encode: Encoder) -> Membership:
        """Make `member` one of `topic`, paused; sequenced events are kept for it until `go_live`."""
        room = self._rooms.get(topic)
        if room is None:
            room = self._rooms[topic] = Room(topic, self._fill, self.counts)
            self._relay.enter(topic, room.deliver)
        membership = Membership(room, member, encode)
        room.members.setdefault(encode, {})[membership] = None
        return membership

    def watch(self, topic: Topic, tell: Callable[[Any], None]) -> Membership:
        """Call `tell` with every event of `topic`, as it is."""
        membership = self.join(topic, _Watcher(tell), _as_it_is)
        membership.go_live()
        return membership

    def leave(self, membership: Membership) -> None:
        """Take a member out of its topic; asking twice does no harm."""
        room = membership.room
        members = room.members.get(membership.encode, {})
        members.pop(membership, None)
        if not members:
            room.members.pop(membership.encode, None)
        if not room.members and self._rooms.get(room.topic) is room:
            room.close()
            del self._rooms[room.topic]
            self._relay.leave(room.topic)

    async def ready(self) -> None:
        """Wait until other processes reach this one, but not for long: without the layer it goes on alone."""
        if self._shared:
            await self._relay.ready()

    async def probe(self) -> None:
        """Find out whether the other processes can be reached."""
        if self._shared:
            await self._relay.probe()

    def publish(self, topic: Topic, event: Any) -> None:
        """Deliver `event` to the members here at once, and to other processes over the layer."""
        room = self._rooms.get(topic)
        if room is not None:
            room.deliver(event)
        if self._shared:
            self._relay.put(topic, event)

    # --- What the layer lost ---------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            # A little apart, so that many workers do not ask at the same moment.
            await asyncio.sleep(self._look_every * random.uniform(0.9, 1.1))  # noqa: S311  spread, not a secret
            try:
                await self._catch_up()
            except Exception as error:  # noqa: BLE001  the database is away: the next look tries again
                self._on_look(error)
            else:
                self._on_look(None)

    async def _catch_up(self) -> None:
        behind: list[tuple[Room, int]] = []
        rooms = self._in_order()
        for start in range(0, len(rooms), LOOKED_AT):
            behind += await self._ask(rooms[start : start + LOOKED_AT])
        if not behind:
            return
        await asyncio.sleep(self._on_its_way)
        lost = [(room, seq) for room, seq in behind if self._is_behind(room, seq)]
        for start in range(0, len(lost), FILLED_AT_ONCE):
            await asyncio.gather(*(room.catch_up(seq) for room, seq in lost[start : start + FILLED_AT_ONCE]))

    def _in_order(self) -> list[Room]:
        """Return the topics here that have an order and do not know of a gap: one known is being filled."""
        return [room for room in self._rooms.values() if room.last is not None and not room.has_gap]

    async def _ask(self, rooms: Sequence[Room]) -> list[tuple[Room, int]]:
        latest = await self._latest([room.topic for room in rooms])
        return [(room, seq) for room in rooms if self._is_behind(room, seq := latest.get(room.topic, 0))]

    def _is_behind(self, room: Room, seq: int) -> bool:
        return room.last is not None and room.last < seq and self._rooms.get(room.topic) is room
