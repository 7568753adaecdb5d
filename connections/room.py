"""One topic in this process: its members, and the order in which they are told.

Events of a session carry a gap-free `seq` from the database. A room delivers in that order: an event that comes early
waits for those before it, and what does not come in GAP_PATIENCE is read from the database. What has no `seq`, because
it grows still, is over once an event was delivered that `ends` it: what comes of it late is dropped.

Bounds: a room holds HELD early events; beyond them an event is dropped, counted, and read from the database. A paused
member is kept as many; beyond them it is told that it lost something, and is kept nothing more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

HELD = 1000
HELD_BYTES = 8 * 1024 * 1024  # of frames kept for a paused member
GAP_PATIENCE = 0.1  # seconds that an early event waits for those before it, before the database is asked
FILL_RETRY = 0.5


class Event(Protocol):
    """Something that happened; `seq` is its place in its topic's order, or None where it has none.

    It may have two ids more: `part_of`, of what grows and this is a passing state of, and `ends`, up to which nothing
    grows any more once this is told.
    """

    @property
    def seq(self) -> int | None: ...


class Topic(Protocol):
    """A hashable value with a `name` that is unique over all topics."""

    @property
    def name(self) -> str: ...

    def __hash__(self) -> int: ...


class Member(Protocol):
    """Somebody who is told; neither call may block."""

    def push(self, frame: Any) -> None: ...

    def lost(self) -> None:
        """Hear, once, that something could not be kept and nothing more will come: it has to begin anew."""


Encoder = Callable[[Any], Any]  # event → what `push` takes, or None where this wire does not tell it
Fill = Callable[[Any, int], Awaitable[Sequence[Event]]]  # (topic, after seq) → the missing events, in order


@dataclass(slots=True)
class Counts:
    """What a hub could not keep: events `dropped`, to be read from the database, and members told that they `lost`.

    `filled` are the events that the database gave in the place of some that did not come. `away` and `back` tell how
    often the layer was found to be so.
    """

    dropped: int = 0
    lost: int = 0
    filled: int = 0
    away: int = 0
    back: int = 0


class Membership:
    """One member's place in a topic; paused until `go_live`."""

    __slots__ = ("after", "encode", "ended", "held", "held_bytes", "member", "push", "room")

    def __init__(self, room: "Room", member: Member, encode: Encoder) -> None:
        self.room = room
        self.member = member
        self.push = member.push
        self.encode = encode
        self.after = 0
        self.held: list[tuple[int, Any]] | None = []
        self.held_bytes = 0
        self.ended = False

    def pause(self) -> None:
        """Keep what has a place in the order for the next `go_live`, and leave the rest out."""
        if self.held is None:
            self.held = []
            self.after = max(self.after, self.room.last or 0)  # so far this member was told

    def go_live(self, after: int | None = None) -> None:
        """Deliver from now on what comes after `seq` `after`; None where the topic has no order."""
        if self.ended:
            return
        held, self.held, self.held_bytes = self.held or (), None, 0
        self.after = after or 0
        for seq, frame in held:
            if seq > self.after:
                self.push(frame)
        if after is not None:
            self.room.known(after)

    def hold(self, seq: int, frame: Any) -> None:
        """Keep a frame for `go_live`; one too many, or too large, ends the membership."""
        assert self.held is not None
        if self.ended:
            return
        self.held_bytes += getattr(frame, "size", 0)  # a member that is no socket takes events as they are
        if len(self.held) < HELD and self.held_bytes <= HELD_BYTES:
            self.held.append((seq, frame))
            return
        self.ended = True
        self.held.clear()
        self.room.counts.lost += 1
        self.member.lost()


class Room:
    """A topic with members in this process."""

    __slots__ = (
        "_early", "_ended", "_fill", "_filling", "_newest", "_task", "_timer", "counts", "last", "members", "topic",
    )  # fmt: skip

    def __init__(self, topic: Topic, fill: Fill, counts: Counts) -> None:
        self.topic = topic
        self.counts = counts
        self.members: dict[Encoder, dict[Membership, None]] = {}
        self.last: int | None = None  # the `seq` delivered last; None until a member says where it stands
        self._ended = 0  # nothing of a lower or equal id grows any more
        self._newest = 0  # the highest `seq` known to be in the database, while it is beyond `last`
        self._early: dict[int, Event] = {}
        self._fill = fill
        self._filling = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def has_gap(self) -> bool:
        """Tell whether something is missing."""
        return self._newest > (self.last or 0)

    def is_over(self, id_: int) -> bool:
        """Tell whether the members were told the end of what has that id: it does not grow any more."""
        return 0 < id_ <= self._ended

    def deliver(self, event: Event) -> None:
        """Deliver an event to the members in order; hold it while those before it are missing."""
        seq = event.seq
        if seq is None:
            # Without a place in the order: a delta. It is cumulative, so in a gap it may be left out.
            if not self.has_gap and not self.is_over(getattr(event, "part_of", 0)):
                self._hand_out(event, None)
            return
        if self.last is not None and seq <= self.last:
            return
        if self.last is None or seq > self.last + 1:
            self._hold(seq, event)
            return
        self._hand_out(event, seq)
        self.last = seq
        if self._early:
            self._release()

    def known(self, seq: int) -> None:
        """Take `seq` as delivered up to here, unless the topic is further already."""
        if self.last is None:
            self.last = seq
            self._release()

    async def catch_up(self, seq: int) -> None:
        """Read what is missing up to `seq`, which the database has."""
        self._newest = max(self._newest, seq)
        await self._fill_gap()

    def close(self) -> None:
        """Wait for nothing more."""
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()

    def _hold(self, seq: int, event: Event) -> None:
        self._newest = max(self._newest, seq)
        if len(self._early) < HELD:
            self._early[seq] = event
        else:
            self.counts.dropped += 1
        if self._timer is None and self.last is not None:
            self._fill_in(GAP_PATIENCE)

    def _release(self) -> None:
        """Deliver the early events whose turn has come."""
        assert self.last is not None
        while (event := self._early.pop(self.last + 1, None)) is not None:
            self.last += 1
            self._hand_out(event, self.last)
        self._early = {seq: event for seq, event in self._early.items() if seq > self.last}
        self._stop_timer()
        if self.has_gap:
            self._fill_in(GAP_PATIENCE)

    def _fill_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_filling)

    def _start_filling(self) -> None:
        self._timer = None
        if self.members and not self._filling:
            self._task = asyncio.get_running_loop().create_task(self._fill_gap())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _fill_gap(self) -> None:
        """Read from the database what is missing, one reading at a time."""
        if self._filling:
            return
        self._filling = True
        try:
            while self.last is not None and self.has_gap:
                # What comes early was committed, and all before it: where the database has none of it, it was erased.
                erased = min(self._early, default=self._newest + 1) - 1
                self._take(await self._fill(self.topic, self.last), erased)
        except Exception as error:  # noqa: BLE001  the database is away: try again, the early events wait
            log.warning("hub.gap_not_filled", reason=str(error))
            self._stop_timer()
            self._fill_in(FILL_RETRY)
        finally:
            self._filling = False

    def _take(self, missing: Sequence[Event], erased: int) -> None:
        assert self.last is not None
        for event in missing:
            if event.seq is not None and event.seq > self.last:
                self.last = event.seq - 1  # what the database does not have any more is not waited for
                self.counts.filled += 1
                self.deliver(event)
        if not missing:
            self.last = max(self.last, erased)
            self._release()

    def _hand_out(self, event: Event, seq: int | None) -> None:
        self._ended = max(self._ended, getattr(event, "ends", 0))
        for encode, members in self.members.items():
            frame = encode(event)
            if frame is None:
                continue
            for membership in members:
                if membership.held is None:
                    if seq is None or seq > membership.after:
                        membership.push(frame)
                elif seq is not None:
                    membership.hold(seq, frame)
