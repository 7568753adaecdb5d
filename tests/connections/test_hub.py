"""The hub: encoded once, in order, without gaps, in this process and over a real layer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from connections import hub as hub_module
from connections.hub import HELD, OUTGOING, Codec, Event, Hub, Layer, Membership, envelope, group_name
from tests.support.databases import ValkeyServer

PATIENCE = 15.0


class Said(msgspec.Struct, frozen=True):
    """An event: with a place in the order, or a delta without one."""

    seq: int | None
    text: str = ""


class Room(msgspec.Struct, frozen=True):
    """A topic."""

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
        self._changed = asyncio.Event()

    def push(self, frame: Any) -> None:
        self.told.append(frame)
        self._changed.set()

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
    """What gaps are filled from; `failures` readings fail first."""

    def __init__(self, *events: Said, failures: int = 0) -> None:
        self.events = list(events)
        self.failures = failures
        self.asked: list[int] = []

    async def fill(self, topic: Any, after: int) -> Sequence[Event]:
        self.asked.append(after)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        return [event for event in self.events if (event.seq or 0) > after]


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


Start = Callable[..., Awaitable[Hub]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a hub; it stops with the test."""
    hubs = []

    async def start_hub(layer: Layer | None = None, database: Database | None = None, *, shared: bool = False) -> Hub:
        fill = (database or Database()).fill
        made = Hub(layer or InMemoryChannelLayer(), JsonCodec(), shared=shared, fill=fill)
        hubs.append(made)
        await made.start()
        return made

    yield start_hub
    for made in hubs:
        await made.stop()


def enter(hub: Hub, member: Recorder, after: int | None = 0, encode: Any = as_text) -> Membership:
    """Make `member` a live member of the room."""
    membership = hub.join(Room(), member, encode)
    membership.go_live(after)
    return membership


# --- In one process ----------------------------------------------------------------------------


async def test_an_event_is_encoded_once_for_all_members_of_a_wire(start: Start) -> None:
    hub, encoded = await start(), list[Any]()

    def encode(event: Any) -> Any:
        encoded.append(event)
        return [event.seq]

    one, two, other_wire = Recorder(), Recorder(), Recorder()
    enter(hub, one, encode=encode)
    enter(hub, two, encode=encode)
    enter(hub, other_wire)
    hub.publish(Room(), Said(1))
    assert one.told == two.told == [[1]]
    assert one.told[0] is two.told[0]
    assert len(encoded) == 1
    assert other_wire.told == [1]


async def test_what_a_wire_does_not_tell_is_not_pushed(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, encode=lambda event: None if event.seq == 1 else event.seq)
    for seq in (1, 2):
        hub.publish(Room(), Said(seq))
    assert member.told == [2]


async def test_a_topic_hears_nothing_of_another(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member)
    hub.publish(Room("elsewhere"), Said(1))
    assert member.told == []


async def test_early_events_wait_for_those_before_them(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=10)
    for seq in (13, 12, 14, 11):
        hub.publish(Room(), Said(seq))
    assert member.told == [11, 12, 13, 14]


async def test_an_event_is_told_once(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member)
    for seq in (1, 1, 3, 3, 2, 2, 1, 3):
        hub.publish(Room(), Said(seq))
    assert member.told == [1, 2, 3]


async def test_a_gap_is_filled_from_the_database(start: Start) -> None:
    database = Database(*(Said(seq) for seq in range(1, 6)))
    hub, member = await start(database=database), Recorder()
    enter(hub, member, after=1)
    hub.publish(Room(), Said(4))
    await member.until(2, 3, 4, 5)
    assert database.asked == [1]


async def test_a_gap_is_filled_when_the_database_is_back(start: Start) -> None:
    database = Database(Said(1), Said(2), failures=1)
    hub, member = await start(database=database), Recorder()
    enter(hub, member)
    hub.publish(Room(), Said(2))
    await member.until(1, 2)
    assert database.asked == [0, 0]


async def test_deltas_are_told_at_once_but_left_out_in_a_gap(start: Start) -> None:
    database = Database(Said(1), Said(2))
    hub, member = await start(database=database), Recorder()
    enter(hub, member)
    hub.publish(Room(), Said(None, "before"))
    hub.publish(Room(), Said(2))
    hub.publish(Room(), Said(None, "in the gap"))
    await member.until("before", 1, 2)
    hub.publish(Room(), Said(None, "after"))
    await member.until("before", 1, 2, "after")


async def test_a_topic_without_order_tells_everything(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=None)
    hub.publish(Room(), Said(None, "a"))
    hub.publish(Room(), Said(None, "a"))
    assert member.told == ["a", "a"]


async def test_a_function_may_watch(start: Start) -> None:
    hub, seen = await start(), list[Any]()
    membership = hub.watch(Room(), seen.append)
    hub.publish(Room(), Said(None, "a"))
    hub.leave(membership)
    hub.publish(Room(), Said(None, "b"))
    assert seen == [Said(None, "a")]


async def test_a_joining_member_is_told_what_came_meanwhile_and_not_what_it_knows(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, Recorder())
    membership = hub.join(Room(), member, as_text)
    for seq in (1, 2, 3):
        hub.publish(Room(), Said(seq))
    hub.publish(Room(), Said(None, "a delta"))
    assert member.told == []
    membership.go_live(2)
    assert member.told == [3]
    hub.publish(Room(), Said(4))
    assert member.told == [3, 4]


async def test_the_first_member_says_where_a_topic_stands(start: Start) -> None:
    hub, member = await start(), Recorder()
    membership = hub.join(Room(), member, as_text)
    for seq in (8, 7, 6):
        hub.publish(Room(), Said(seq))
    membership.go_live(6)
    assert member.told == [7, 8]


async def test_joining_an_active_topic_behind_it_leaves_the_others_alone(start: Start) -> None:
    hub, here, late = await start(), Recorder(), Recorder()
    enter(hub, here)
    for seq in (1, 2, 3):
        hub.publish(Room(), Said(seq))
    enter(hub, late, after=1)
    hub.publish(Room(), Said(4))
    assert here.told == [1, 2, 3, 4]
    assert late.told == [4]


async def test_joining_an_active_topic_ahead_of_it_is_told_only_what_is_new(start: Start) -> None:
    hub, here, ahead = await start(), Recorder(), Recorder()
    enter(hub, here)
    enter(hub, ahead, after=2)
    for seq in (1, 2, 3):
        hub.publish(Room(), Said(seq))
    assert here.told == [1, 2, 3]
    assert ahead.told == [3]


async def test_a_paused_member_misses_nothing_that_has_a_place(start: Start) -> None:
    hub, member = await start(), Recorder()
    membership = enter(hub, member)
    hub.publish(Room(), Said(1))
    membership.pause()
    membership.pause()
    hub.publish(Room(), Said(2))
    hub.publish(Room(), Said(None, "a delta"))
    hub.publish(Room(), Said(3))
    assert member.told == [1]
    membership.go_live(2)
    assert member.told == [1, 3]


async def test_who_left_is_told_nothing_more(start: Start) -> None:
    hub, stays, leaves = await start(), Recorder(), Recorder()
    enter(hub, stays)
    membership = enter(hub, leaves)
    hub.leave(membership)
    hub.leave(membership)
    hub.publish(Room(), Said(1))
    assert (stays.told, leaves.told) == ([1], [])


async def test_a_topic_begins_anew_when_all_had_left(start: Start) -> None:
    hub, member = await start(), Recorder()
    hub.leave(enter(hub, Recorder(), after=5))
    enter(hub, member, after=1)
    hub.publish(Room(), Said(2))
    assert member.told == [2]


async def test_leaving_a_topic_twice_does_not_end_its_successor(start: Start) -> None:
    hub, member = await start(), Recorder()
    old = enter(hub, Recorder())
    hub.leave(old)
    enter(hub, member)
    hub.leave(old)
    hub.publish(Room(), Said(1))
    assert member.told == [1]


async def test_a_gap_is_not_filled_for_nobody(start: Start) -> None:
    database = Database(Said(1), Said(2))
    hub, member = await start(database=database), Recorder()
    membership = enter(hub, Recorder())
    hub.publish(Room(), Said(2))
    hub.leave(membership)
    enter(hub, member)
    hub.publish(Room(), Said(2))  # its gap is filled after the other's would have been
    await member.until(1, 2)
    assert database.asked == [0]


async def test_early_events_beyond_the_bound_are_dropped_and_read_from_the_database(start: Start) -> None:
    last = HELD + 3
    hub, member = await start(database=Database(*(Said(seq) for seq in range(1, last + 1)))), Recorder()
    enter(hub, member)
    for seq in range(2, last + 1):
        hub.publish(Room(), Said(seq))
    assert hub.dropped == 2
    await member.until(*range(1, last + 1))


async def test_a_paused_member_holds_no_more_than_the_bound(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, Recorder())
    membership = hub.join(Room(), member, as_text)
    for seq in range(1, HELD + 3):
        hub.publish(Room(), Said(seq))
    membership.go_live(0)
    assert member.told[:HELD] == list(range(1, HELD + 1))


async def test_groups_have_names_that_a_layer_takes() -> None:
    name = group_name(Room("客服/" + "长" * 500))
    assert len(name) < 100
    InMemoryChannelLayer().require_valid_group_name(name)
    assert name != group_name(Room("客服/"))


# --- Between processes -------------------------------------------------------------------------


@pytest.fixture
async def new_layer(valkey: ValkeyServer) -> AsyncIterator[Callable[..., RedisPubSubChannelLayer]]:
    """A function that gives each hub a layer of its own, as each process has one."""
    layers = []

    def make(server: ValkeyServer = valkey) -> RedisPubSubChannelLayer:
        layers.append(RedisPubSubChannelLayer(hosts=[server.url]))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.flush()


async def test_events_cross_in_order_and_own_events_are_not_doubled(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    for seq in range(1, 51):
        here.publish(Room(), Said(seq))
        here.publish(Room(), Said(None, f"delta {seq}"))
    told = [frame for seq in range(1, 51) for frame in (seq, f"delta {seq}")]
    await far.until(*told)
    there.publish(Room(), Said(51))
    await near.until(*told, 51)
    assert far.told == [*told, 51]


async def test_two_processes_publish_into_one_order(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    for seq in range(1, 101):
        (here if seq % 2 else there).publish(Room(), Said(seq))
    await near.until(*range(1, 101))
    await far.until(*range(1, 101))


async def test_group_send_from_ordinary_code_reaches_every_member(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near, after=None)
    enter(there, far, after=None)
    await here.ready()
    await there.ready()
    event = Said(None, "to all")
    await new_layer().group_send(group_name(Room()), envelope(JsonCodec(), Room(), event))
    await near.until("to all")
    await far.until("to all")


async def test_a_process_hears_only_of_topics_that_it_has_members_of(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    member, other = Recorder(), Recorder()
    membership = enter(there, member, after=None)
    elsewhere = there.join(Room("elsewhere"), other, as_text)
    elsewhere.go_live()
    await there.ready()
    there.leave(membership)
    await there.ready()
    here.publish(Room(), Said(None, "nobody is there"))
    here.publish(Room("elsewhere"), Said(None, "later"))
    await other.until("later")
    assert member.told == []


async def test_what_is_no_event_is_passed_over(start: Start, new_layer: Any) -> None:
    hub, member, layer = await start(new_layer(), shared=True), Recorder(), new_layer()
    enter(hub, member, after=None)
    await hub.ready()
    group = group_name(Room())
    for rubbish in (
        {"type": "gateway.event"},
        {"type": "x", "group": group},
        {"type": "gateway.event", "group": group, "event": b"\xff"},
        {"type": "gateway.event", "group": group, "event": 7},
        {"type": "gateway.event", "group": ["x"], "event": b"{}"},
    ):
        await layer.group_send(group, rubbish)
    await layer.group_send(group, envelope(JsonCodec(), Room(), Said(None, "good")))
    await member.until("good")


async def test_a_restarted_layer_is_entered_again_and_what_was_lost_is_read(start: Start, new_layer: Any) -> None:
    server = ValkeyServer()
    server.start()
    try:
        stored = Database()
        here = await start(new_layer(server), shared=True)
        there = await start(new_layer(server), stored, shared=True)
        near, far = Recorder(), Recorder()
        enter(here, near)
        enter(there, far)
        await here.ready()
        await there.ready()
        here.publish(Room(), Said(1))
        await far.until(1)

        server.stop()
        here.publish(Room(), Said(2))
        assert near.told == [1, 2]  # in its own process nothing waits for the layer
        there.join(Room("entered meanwhile"), Recorder(), as_text)
        await there.ready()
        server.start()

        # Once the layer carries again, what was lost shows as a gap.
        stored.events = [Said(seq) for seq in range(1, 1000)]
        for seq in range(3, 60):
            here.publish(Room(), Said(seq))
            if await far.within(0.3, lambda: len(far.told) > 2):
                break
        assert far.told[:3] == [1, 2, 3]

        late = Recorder()
        there.join(Room("entered meanwhile"), late, as_text).go_live()
        await there.ready()
        here.publish(Room("entered meanwhile"), Said(None, "heard"))
        await late.until("heard")
    finally:
        server.stop()


async def test_without_its_layer_a_process_goes_on_alone(start: Start, new_layer: Any) -> None:
    server = ValkeyServer()  # never started
    hub, member = await start(new_layer(server), shared=True), Recorder()
    enter(hub, member)
    before = asyncio.get_running_loop().time()
    await hub.ready()
    assert asyncio.get_running_loop().time() - before < hub_module.LAYER_PATIENCE + 1
    hub.publish(Room(), Said(1))
    assert member.told == [1]
    server.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while not hub._in_step.is_set():
                await hub.ready()
    finally:
        server.stop()


async def test_a_layer_that_refuses_a_group_is_asked_again(start: Start) -> None:
    layer = StubbornLayer()
    hub, member = await start(layer, shared=True), Recorder()
    enter(hub, member, after=None)
    async with asyncio.timeout(PATIENCE):
        await layer.refused.wait()
    layer.open.set()
    await hub.ready()
    await layer.group_send(group_name(Room()), envelope(JsonCodec(), Room(), Said(None, "in")))
    await member.until("in")


async def test_what_the_layer_cannot_take_in_time_is_dropped_and_counted() -> None:
    hub = Hub(InMemoryChannelLayer(), JsonCodec(), shared=True, fill=Database().fill)  # nothing is sent before start
    for _ in range(OUTGOING + 3):
        hub.publish(Room(), Said(None, "x"))
    assert hub.dropped == 3


async def test_one_process_needs_no_layer(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=None)
    await hub.ready()  # at once
    hub.publish(Room(), Said(None, "here"))
    assert member.told == ["here"]


async def test_group_send_reaches_members_over_the_layer_in_memory_too(start: Start) -> None:
    layer = InMemoryChannelLayer()
    here, there = await start(layer, shared=True), await start(layer, shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    here.publish(Room(), Said(1))
    await far.until(1)
    await layer.group_send(group_name(Room()), envelope(JsonCodec(), Room(), Said(2)))
    await near.until(1, 2)
    await far.until(1, 2)
