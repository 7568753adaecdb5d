"""The relay: events cross between processes over a real layer, which may be away."""

import asyncio
from contextlib import suppress
from typing import Any

from channels.layers import InMemoryChannelLayer

from connections.hub import Hub
from connections.relay import LAYER_PATIENCE, OUTGOING, envelope, group_name
from tests.connections.conftest import Start
from tests.connections.doubles import PATIENCE, Database, JsonCodec, Recorder, Said, StubbornLayer, Talk, as_text, enter
from tests.support.databases import ValkeyServer
from tests.support.waiting import eventually


class DeafLayer(InMemoryChannelLayer):
    """A layer that takes for ever to send, and a cancellation for the end of it, as Redis's client sometimes does."""

    def __init__(self) -> None:
        super().__init__()
        self.sending = asyncio.Event()

    async def group_send(self, _group: str, _message: Any) -> None:
        self.sending.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


class BusyLayer(InMemoryChannelLayer):
    """A layer that takes its time to send, until it has an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def group_send(self, group: str, message: Any) -> None:
        self.asked.set()
        await self.answer
        await super().group_send(group, message)


async def test_events_cross_in_order_and_own_events_are_not_doubled(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    for seq in range(1, 51):
        here.publish(Talk(), Said(seq))
        here.publish(Talk(), Said(None, f"delta {seq}"))
    told = [frame for seq in range(1, 51) for frame in (seq, f"delta {seq}")]
    await far.until(*told)
    there.publish(Talk(), Said(51))
    await near.until(*told, 51)
    assert far.told == [*told, 51]


async def test_two_processes_publish_into_one_order(start: Start, new_layer: Any) -> None:
    stored = Database(*(Said(seq) for seq in range(1, 101)))  # a slow layer leaves gaps to be read
    here = await start(new_layer(), stored, shared=True, look=60)
    there = await start(new_layer(), stored, shared=True, look=60)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    for seq in range(1, 101):
        (here if seq % 2 else there).publish(Talk(), Said(seq))
    await near.until(*range(1, 101))
    await far.until(*range(1, 101))


async def test_what_is_over_here_does_not_grow_on_from_another_process(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    member = Recorder()
    enter(here, member)
    await here.ready()
    there.publish(Talk(), Said(None, "seven grows", part_of=7))
    await member.until("seven grows")
    here.publish(Talk(), Said(1, "it is over", ends=8))
    there.publish(Talk(), Said(None, "seven is late", part_of=7))
    there.publish(Talk(), Said(None, "nine grows", part_of=9))
    await member.until("seven grows", "it is over", "nine grows")


async def test_group_send_from_ordinary_code_reaches_every_member(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near, after=None)
    enter(there, far, after=None)
    await here.ready()
    await there.ready()
    event = Said(None, "to all")
    await new_layer().group_send(group_name(Talk()), envelope(JsonCodec(), Talk(), event))
    await near.until("to all")
    await far.until("to all")


async def test_a_process_hears_only_of_topics_that_it_has_members_of(start: Start, new_layer: Any) -> None:
    here, there = await start(new_layer(), shared=True), await start(new_layer(), shared=True)
    member, other = Recorder(), Recorder()
    membership = enter(there, member, after=None)
    elsewhere = there.join(Talk("elsewhere"), other, as_text)
    elsewhere.go_live()
    await there.ready()
    there.leave(membership)
    await there.ready()
    here.publish(Talk(), Said(None, "nobody is there"))
    here.publish(Talk("elsewhere"), Said(None, "later"))
    await other.until("later")
    assert member.told == []


async def test_what_is_no_event_is_passed_over(start: Start, new_layer: Any) -> None:
    hub, member, layer = await start(new_layer(), shared=True), Recorder(), new_layer()
    enter(hub, member, after=None)
    await hub.ready()
    group = group_name(Talk())
    for rubbish in (
        {"type": "gateway.event"},
        {"type": "x", "group": group},
        {"type": "gateway.event", "group": group, "event": b"\xff"},
        {"type": "gateway.event", "group": group, "event": 7},
        {"type": "gateway.event", "group": ["x"], "event": b"{}"},
    ):
        await layer.group_send(group, rubbish)
    await layer.group_send(group, envelope(JsonCodec(), Talk(), Said(None, "good")))
    await member.until("good")


async def test_a_restarted_layer_is_entered_again_and_what_was_lost_is_read(start: Start, new_layer: Any) -> None:
    server = ValkeyServer()
    server.start()
    try:
        stored = Database()
        here = await start(new_layer(server), shared=True)
        there = await start(new_layer(server), stored, shared=True, look=60)  # only what comes shows the gap
        near, far = Recorder(), Recorder()
        enter(here, near)
        enter(there, far)
        await here.ready()
        await there.ready()
        here.publish(Talk(), Said(1))
        await far.until(1)

        server.stop()
        here.publish(Talk(), Said(2))
        assert near.told == [1, 2]  # in its own process nothing waits for the layer
        there.join(Talk("entered meanwhile"), Recorder(), as_text)
        await there.ready()
        server.start()

        # Once the layer carries again, what was lost shows as a gap.
        stored.events = [Said(seq) for seq in range(1, 1000)]
        for seq in range(3, 60):
            here.publish(Talk(), Said(seq))
            if await far.within(0.3, lambda: len(far.told) > 2):
                break
        assert far.told[:3] == [1, 2, 3]

        late = Recorder()
        there.join(Talk("entered meanwhile"), late, as_text).go_live()
        await there.ready()
        here.publish(Talk("entered meanwhile"), Said(None, "heard"))
        await late.until("heard")
    finally:
        server.stop()


async def test_without_its_layer_a_process_goes_on_alone(start: Start, new_layer: Any) -> None:
    server = ValkeyServer()  # never started
    hub, member = await start(new_layer(server), shared=True), Recorder()
    enter(hub, member)
    before = asyncio.get_running_loop().time()
    await hub.ready()
    assert asyncio.get_running_loop().time() - before < LAYER_PATIENCE + 1
    hub.publish(Talk(), Said(1))
    assert member.told == [1]
    before = asyncio.get_running_loop().time()
    await hub.ready()
    assert asyncio.get_running_loop().time() - before < LAYER_PATIENCE / 2, "known to be away, it is not waited for"
    server.start()
    try:
        async with asyncio.timeout(PATIENCE):
            await hub._relay.in_step.wait()
    finally:
        server.stop()


async def test_a_layer_that_refuses_a_group_is_asked_again(start: Start) -> None:
    layer = StubbornLayer()
    hub, member = await start(layer, shared=True), Recorder()
    enter(hub, member, after=None)
    async with asyncio.timeout(PATIENCE):
        await layer.refused.wait()
    layer.open.set()
    async with asyncio.timeout(PATIENCE):
        await hub._relay.in_step.wait()
    await layer.group_send(group_name(Talk()), envelope(JsonCodec(), Talk(), Said(None, "in")))
    await member.until("in")


async def test_a_hub_stops_whose_layer_swallows_a_cancellation() -> None:
    layer, stored = DeafLayer(), Database()
    hub = Hub(layer, JsonCodec(), shared=True, fill=stored.fill, latest=stored.latest)
    await hub.start()
    hub.publish(Talk(), Said(None, "x"))
    async with asyncio.timeout(PATIENCE):
        await layer.sending.wait()
        await hub.stop()


async def test_what_waits_behind_what_the_layer_did_not_take_is_not_sent_late(start: Start) -> None:
    layer = BusyLayer()
    here, there = await start(layer, shared=True), await start(layer, shared=True)
    far = Recorder()
    enter(there, far, after=None)
    await there.ready()
    for _ in range(5):
        here.publish(Talk(), Said(None, "late"))
    await layer.asked.wait()
    layer.answer.set_exception(ConnectionError("away"))
    layer.answer = asyncio.get_running_loop().create_future()
    layer.answer.set_result(None)

    async def all_dropped() -> bool:
        return here.counts.dropped == 5

    await eventually(all_dropped, timeout=PATIENCE, what="the end of what the layer did not take")
    here.publish(Talk(), Said(None, "new"))
    await far.until("new")


async def test_what_the_layer_cannot_take_in_time_is_dropped_and_counted() -> None:
    stored = Database()
    hub = Hub(InMemoryChannelLayer(), JsonCodec(), shared=True, fill=stored.fill, latest=stored.latest)  # not started
    for _ in range(OUTGOING + 3):
        hub.publish(Talk(), Said(None, "x"))
    assert hub.counts.dropped == 3


async def test_group_send_reaches_members_over_the_layer_in_memory_too(start: Start) -> None:
    layer = InMemoryChannelLayer()
    here, there = await start(layer, shared=True), await start(layer, shared=True)
    near, far = Recorder(), Recorder()
    enter(here, near)
    enter(there, far)
    await here.ready()
    await there.ready()
    here.publish(Talk(), Said(1))
    await far.until(1)
    await layer.group_send(group_name(Talk()), envelope(JsonCodec(), Talk(), Said(2)))
    await near.until(1, 2)
    await far.until(1, 2)


async def test_groups_have_names_that_a_layer_takes() -> None:
    name = group_name(Talk("客服/" + "长" * 500))
    assert len(name) < 100
    InMemoryChannelLayer().require_valid_group_name(name)
    assert name != group_name(Talk("客服/"))
