"""Fan-out: topics → the sockets of this process, and over the Channels layer to the other processes.

An event is encoded once per wire and the same frame is handed to every member. Between processes each hub has ONE
channel, which joins the Channels group of a topic with the topic's first local member; `group_send` of an `envelope`
from ordinary code reaches every member.

Events of a session carry a gap-free `seq` from the database. The hub delivers them in that order: one that comes early
waits for those before it, and what does not come in GAP_PATIENCE is read from the database. The layer is a wake-up;
the database is the truth.

Bounds: a topic holds HELD early events and a joining member as many, the layer's queue OUTGOING; beyond them the event
is dropped here and read from the database when the gap shows (`dropped` counts).
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

HELD = 1000
OUTGOING = 10_000
GAP_PATIENCE = 0.1  # seconds that an early event waits for those before it, before the database is asked
LAYER_PATIENCE = 2.0  # seconds that a join waits for the layer; without it the hub goes on alone and retries
LAYER_RETRY = 0.5


class Event(Protocol):
    """Something that happened; `seq` is its place in its topic's order, or None where it has none."""

    @property
    def seq(self) -> int | None: ...


class Topic(Protocol):
    """A hashable value with a `name` that is unique over all topics."""

    @property
    def name(self) -> str: ...

    def __hash__(self) -> int: ...


class Codec(Protocol):
    """Carries topics' events between processes."""

    def encode(self, event: Any) -> bytes: ...
    def decode(self, data: bytes) -> Event: ...


class Layer(Protocol):
    """What the hub uses of a Channels layer."""

    async def new_channel(self) -> str: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


class Member(Protocol):
    """Somebody who is told; `push` must not block."""

    def push(self, frame: Any) -> None: ...


Encoder = Callable[[Any], Any]  # event → what `push` takes, or None where this wire does not tell it
Fill = Callable[[Any, int], Awaitable[Sequence[Event]]]  # (topic, after seq) → the missing events, in order


def group_name(topic: Topic) -> str:
    """Return the Channels group of a topic; hashed, because names hold `/` and any Unicode."""
    return "gateway." + hashlib.sha256(topic.name.encode()).hexdigest()[:48]


def envelope(codec: Codec, topic: Topic, event: Event, origin: str = "") -> dict[str, Any]:
    """Return the layer message that delivers `event` to every member of `topic` in every process but `origin`."""
    return {"type": "gateway.event", "group": group_name(topic), "origin": origin, "event": codec.encode(event)}


class Membership:
    """One member's place in a topic; paused until `go_live`."""

    __slots__ = ("after", "encode", "held", "push", "room")

    def __init__(self, room: "_Room", member: Member, encode: Encoder) -> None:
        self.room = room
        self.push = member.push
        self.encode = encode
        self.after = 0
        self.held: list[tuple[int, Event]] | None = []

    def pause(self) -> None:
        """Keep what has a place in the order for the next `go_live`, and leave the rest out."""
        if self.held is None:
            self.held = []

    def go_live(self, after: int | None = None) -> None:
        """Deliver from now on what comes after `seq` `after`; None where the topic has no order."""
        held, self.held = self.held or (), None
        self.after = after or 0
        for seq, event in held:
            if seq > self.after:
                self._tell(event)
        if after is not None:
            self.room.known(after)

    def _tell(self, event: Event) -> None:
        frame = self.encode(event)
        if frame is not None:
            self.push(frame)


class _Room:
    """A topic with members in this process."""

    __slots__ = ("early", "hub", "last", "members", "timer", "topic")

    def __init__(self, hub: "Hub", topic: Topic) -> None:
        self.hub = hub
        self.topic = topic
        self.members: dict[Encoder, dict[Membership, None]] = {}
        self.last: int | None = None  # the `seq` delivered last; None until a member says where it stands
        self.early: dict[int, Event] = {}
        self.timer: asyncio.TimerHandle | None = None

    def deliver(self, event: Event) -> None:
        """Deliver an event to the members in order; hold it while those before it are missing."""
        seq = event.seq
        if seq is None:
            # Without a place in the order: a delta. It is cumulative, so in a gap it may be left out.
            if not self.early:
                self._hand_out(event, None)
            return
        if self.last is not None and seq <= self.last:
            return
        if self.last is None or seq > self.last + 1:
            self._hold(seq, event)
            return
        self._hand_out(event, seq)
        self.last = seq
        self._release()

    def known(self, seq: int) -> None:
        """Take `seq` as delivered up to here, unless the topic is further already."""
        if self.last is None:
            self.last = seq
            self._release()

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _hold(self, seq: int, event: Event) -> None:
        if len(self.early) >= HELD:
            self.hub.dropped += 1
            return
        self.early[seq] = event
        if self.timer is None and self.last is not None:
            self.timer = asyncio.get_running_loop().call_later(GAP_PATIENCE, self.hub.fill_gap, self)

    def _release(self) -> None:
        """Deliver the early events whose turn has come."""
        assert self.last is not None
        if not self.early:
            return
        while (event := self.early.pop(self.last + 1, None)) is not None:
            self.last += 1
            self._hand_out(event, self.last)
        self.early = {seq: event for seq, event in self.early.items() if seq > self.last}
        self.close()
        if self.early:
            self.timer = asyncio.get_running_loop().call_later(GAP_PATIENCE, self.hub.fill_gap, self)

    def _hand_out(self, event: Event, seq: int | None) -> None:
        for encode, members in self.members.items():
            frame = encode(event)
            if frame is None:
                continue
            for membership in members:
                if membership.held is None:
                    if seq is None or seq > membership.after:
                        membership.push(frame)
                elif seq is not None and len(membership.held) < HELD:
                    membership.held.append((seq, event))


class _Watcher:
    """A member that is a function."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.push = tell


def _as_it_is(event: Any) -> Any:
    return event


class Hub:
    """The process's hub. `shared` tells that other processes listen on the layer."""

    def __init__(self, layer: Layer, codec: Codec, *, shared: bool, fill: Fill) -> None:
        self.dropped = 0
        self._layer = layer
        self._codec = codec
        self._shared = shared
        self._fill = fill
        self._rooms: dict[Topic, _Room] = {}
        self._groups: dict[str, _Room] = {}
        self._channel = ""
        self._layer_away = False
        self._outgoing: asyncio.Queue[tuple[Topic, Event]] = asyncio.Queue(OUTGOING)
        self._joined: set[str] = set()
        self._unsettled: dict[str, None] = {}  # groups whose membership may have to change
        self._changed = asyncio.Event()
        self._in_step = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen on the layer; where it cannot be reached, keep trying and go on without it."""
        for work in (self._listen, self._keep_groups, self._send):
            self._spawn(work())

    async def stop(self) -> None:
        """Leave the layer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for room in self._rooms.values():
            room.close()

    def join(self, topic: Topic, member: Member, encode: Encoder) -> Membership:
        """Make `member` one of `topic`, paused; sequenced events are kept for it until `go_live`."""
        room = self._rooms.get(topic)
        if room is None:
            room = self._rooms[topic] = _Room(self, topic)
            group = group_name(topic)
            self._groups[group] = room
            self._regroup(group)
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
            group = group_name(room.topic)
            del self._groups[group]
            self._regroup(group)

    async def ready(self) -> None:
        """Wait until the layer knows this process's topics, but no longer than LAYER_PATIENCE."""
        if not self._shared or self._in_step.is_set():
            return
        try:
            async with asyncio.timeout(LAYER_PATIENCE):
                await self._in_step.wait()
        except TimeoutError:
            log.warning("hub.alone", reason="the layer does not answer")

    def publish(self, topic: Topic, event: Event) -> None:
        """Deliver `event` to the members here at once, and to other processes over the layer."""
        room = self._rooms.get(topic)
        if room is not None:
            room.deliver(event)
        if self._shared:
            try:
                self._outgoing.put_nowait((topic, event))
            except asyncio.QueueFull:
                self.dropped += 1

    def fill_gap(self, room: _Room) -> None:
        """Read from the database what a topic is missing."""
        room.timer = None
        self._spawn(self._fill_gap(room))

    async def _fill_gap(self, room: _Room) -> None:
        if room.last is None or not room.early:
            return
        try:
            # What came early was committed: where the database has none of it, it has been erased since.
            missing = await self._fill(room.topic, room.last) or [room.early[min(room.early)]]
        except Exception as error:  # noqa: BLE001  the database is away: try again, the early events wait
            log.warning("hub.gap_not_filled", reason=str(error))
            missing = []
        for event in missing:
            if event.seq is not None and event.seq > room.last:
                room.last = event.seq - 1  # what the database does not have any more is not waited for
                room.deliver(event)
        if room.early and room.timer is None:
            room.timer = asyncio.get_running_loop().call_later(LAYER_RETRY, self.fill_gap, room)

    # --- The layer -------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                if not self._channel:
                    self._channel = await self._layer.new_channel()
                    self._changed.set()
                    self._layer_answers()
                message = await self._layer.receive(self._channel)
                self._receive(message)
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                self._layer_failed("receive", error)
                await asyncio.sleep(LAYER_RETRY)

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("origin") == self._channel:
            return
        room = self._groups.get(str(message.get("group")))
        if room is None:
            return
        try:
            event = self._codec.decode(message["event"])
        except Exception as error:  # noqa: BLE001  another release, or somebody's group_send with something else
            log.warning("hub.event_not_read", error=type(error).__name__)
            return
        room.deliver(event)

    def _regroup(self, group: str) -> None:
        self._unsettled[group] = None
        self._in_step.clear()
        self._changed.set()

    async def _keep_groups(self) -> None:
        """Keep the layer's groups what the topics here are; one task, so joins and leaves never cross."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._channel:
                continue
            try:
                while self._unsettled:
                    await self._settle_group(next(iter(self._unsettled)))
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                self._layer_failed("groups", error)
                await asyncio.sleep(LAYER_RETRY)
                self._changed.set()
            else:
                self._in_step.set()

    async def _settle_group(self, group: str) -> None:
        wanted = group in self._groups
        if wanted and group not in self._joined:
            await self._layer.group_add(group, self._channel)
            self._joined.add(group)
            self._layer_answers()
        elif not wanted and group in self._joined:
            await self._layer.group_discard(group, self._channel)
            self._joined.discard(group)
        if wanted == (group in self._groups):
            self._unsettled.pop(group, None)

    async def _send(self) -> None:
        while True:
            topic, event = await self._outgoing.get()
            try:
                await self._layer.group_send(group_name(topic), envelope(self._codec, topic, event, self._channel))
                self._layer_answers()
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                self.dropped += 1
                self._layer_failed("send", error)

    def _layer_failed(self, step: str, error: Exception) -> None:
        """Log that the layer is away, once until it is back: it is tried twice a second."""
        if not self._layer_away:
            self._layer_away = True
            log.warning(
                "hub.layer_away", step=step, error=type(error).__name__, means="workers do not reach one another"
            )

    def _layer_answers(self) -> None:
        if self._layer_away:
            self._layer_away = False
            log.info("hub.layer_back")

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
