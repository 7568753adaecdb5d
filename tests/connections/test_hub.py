"""The hub: encoded once for all, members come and go, and what the layer lost is noticed."""

import asyncio
from typing import Any

from connections.hub import LOOKED_AT
from tests.connections.conftest import Start
from tests.connections.doubles import Database, Recorder, Said, Talk, as_text, enter
from tests.support.databases import ValkeyServer


async def test_an_event_is_encoded_once_for_all_members_of_a_wire(start: Start) -> None:
    hub, encoded = await start(), list[Any]()

    def encode(event: Any) -> Any:
        encoded.append(event)
        return [event.seq]

    one, two, other_wire = Recorder(), Recorder(), Recorder()
    enter(hub, one, encode=encode)
    enter(hub, two, encode=encode)
    enter(hub, other_wire)
    hub.publish(Talk(), Said(1))
    assert one.told == two.told == [[1]]
    assert one.told[0] is two.told[0]
    assert len(encoded) == 1
    assert other_wire.told == [1]


async def test_what_a_wire_does_not_tell_is_not_pushed(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, encode=lambda event: None if event.seq == 1 else event.seq)
    for seq in (1, 2):
        hub.publish(Talk(), Said(seq))
    assert member.told == [2]


async def test_a_topic_hears_nothing_of_another(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member)
    hub.publish(Talk("elsewhere"), Said(1))
    assert member.told == []


async def test_a_function_may_watch(start: Start) -> None:
    hub, seen = await start(), list[Any]()
    membership = hub.watch(Talk(), seen.append)
    hub.publish(Talk(), Said(None, "a"))
    hub.leave(membership)
    hub.publish(Talk(), Said(None, "b"))
    assert seen == [Said(None, "a")]


async def test_who_left_is_told_nothing_more(start: Start) -> None:
    hub, stays, leaves = await start(), Recorder(), Recorder()
    enter(hub, stays)
    membership = enter(hub, leaves)
    hub.leave(membership)
    hub.leave(membership)
    hub.publish(Talk(), Said(1))
    assert (stays.told, leaves.told) == ([1], [])


async def test_a_topic_begins_anew_when_all_had_left(start: Start) -> None:
    hub, member = await start(), Recorder()
    hub.leave(enter(hub, Recorder(), after=5))
    enter(hub, member, after=1)
    hub.publish(Talk(), Said(2))
    assert member.told == [2]


async def test_leaving_a_topic_twice_does_not_end_its_successor(start: Start) -> None:
    hub, member = await start(), Recorder()
    old = enter(hub, Recorder())
    hub.leave(old)
    enter(hub, member)
    hub.leave(old)
    hub.publish(Talk(), Said(1))
    assert member.told == [1]


async def test_one_process_needs_no_layer(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=None)
    await hub.ready()  # at once
    hub.publish(Talk(), Said(None, "here"))
    assert member.told == ["here"]


# --- What the layer lost -----------------------------------------------------------------------


async def test_the_last_event_that_the_layer_lost_arrives_without_another(start: Start, new_layer: Any) -> None:
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
        here.publish(Talk(), Said(1))
        await far.until(1)

        server.stop()
        stored.events += [Said(1), Said(2)]
        here.publish(Talk(), Said(2))
        await far.until(1, 2)

        server.start()
        stored.events.append(Said(3))  # and its event is lost by whoever published it
        await far.until(1, 2, 3)
        assert stored.asked == [1, 2]
    finally:
        server.stop()


async def test_what_comes_over_the_layer_in_time_is_not_read(start: Start) -> None:
    stored = Database(newest=1)
    hub, member = await start(database=stored, shared=True, on_its_way=0.5), Recorder()
    enter(hub, member)
    await stored.until_looked()
    asyncio.get_running_loop().call_later(0.05, hub.publish, Talk(), Said(1))
    await member.until(1)
    await stored.until_looked()
    assert stored.asked == []


async def test_a_hub_that_shares_no_layer_looks_for_nothing(start: Start) -> None:
    alone, shared = Database(newest=1), Database()
    for database in (alone, shared):
        enter(await start(database=database, shared=database is shared), Recorder())
    await shared.until_looked(2)
    assert alone.looks == []


async def test_only_topics_with_members_and_an_order_are_looked_at(start: Start) -> None:
    stored = Database()
    hub = await start(database=stored, shared=True)
    left = hub.join(Talk("left"), Recorder(), as_text)
    left.go_live(0)
    hub.leave(left)
    hub.join(Talk("without order"), Recorder(), as_text).go_live()
    hub.join(Talk("not live yet"), Recorder(), as_text)
    enter(hub, Recorder())
    await stored.until_looked(2)
    assert stored.looks[-1] == [Talk()]


async def test_many_topics_are_looked_at_with_few_queries(start: Start) -> None:
    stored = Database()
    hub = await start(database=stored, shared=True)
    for number in range(LOOKED_AT + 1):
        hub.join(Talk(str(number)), Recorder(), as_text).go_live(0)
    await stored.until_looked(2)
    assert [len(look) for look in stored.looks[:2]] == [LOOKED_AT, 1]


async def test_it_is_looked_for_again_when_the_database_is_back(start: Start) -> None:
    stored = Database(Said(1), failures=2)
    hub, member = await start(database=stored, shared=True), Recorder()
    enter(hub, member)
    await member.until(1)


async def test_what_was_erased_is_looked_for_once(start: Start) -> None:
    stored = Database(newest=3)
    hub, member = await start(database=stored, shared=True), Recorder()
    enter(hub, member)
    await stored.until_looked(4)
    assert stored.asked == [0]
    hub.publish(Talk(), Said(4))
    assert member.told == [4]
