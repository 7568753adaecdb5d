"""A room: events in order, gaps filled, members paused and live."""

from dataclasses import dataclass

from connections.room import HELD, HELD_BYTES
from tests.connections.conftest import Start
from tests.connections.doubles import Database, Recorder, Said, Talk, as_text, enter


async def test_early_events_wait_for_those_before_them(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=10)
    for seq in (13, 12, 14, 11):
        hub.publish(Talk(), Said(seq))
    assert member.told == [11, 12, 13, 14]


async def test_an_event_is_told_once(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member)
    for seq in (1, 1, 3, 3, 2, 2, 1, 3):
        hub.publish(Talk(), Said(seq))
    assert member.told == [1, 2, 3]


async def test_a_gap_is_filled_from_the_database(start: Start) -> None:
    database = Database(*(Said(seq) for seq in range(1, 6)))
    hub, member = await start(database=database), Recorder()
    enter(hub, member, after=1)
    hub.publish(Talk(), Said(4))
    await member.until(2, 3, 4, 5)
    assert database.asked == [1]


async def test_a_gap_is_filled_when_the_database_is_back(start: Start) -> None:
    database = Database(Said(1), Said(2), failures=1)
    hub, member = await start(database=database), Recorder()
    enter(hub, member)
    hub.publish(Talk(), Said(2))
    await member.until(1, 2)
    assert database.asked == [0, 0]


async def test_deltas_are_told_at_once_but_left_out_in_a_gap(start: Start) -> None:
    database = Database(Said(1), Said(2))
    hub, member = await start(database=database), Recorder()
    enter(hub, member)
    hub.publish(Talk(), Said(None, "before"))
    hub.publish(Talk(), Said(2))
    hub.publish(Talk(), Said(None, "in the gap"))
    await member.until("before", 1, 2)
    hub.publish(Talk(), Said(None, "after"))
    await member.until("before", 1, 2, "after")


async def test_what_is_over_does_not_grow_any_more(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member)
    hub.publish(Talk(), Said(None, "seven grows", part_of=7))
    hub.publish(Talk(), Said(1, "it is over", ends=8))
    hub.publish(Talk(), Said(None, "seven is late", part_of=7))
    hub.publish(Talk(), Said(None, "eight is late", part_of=8))
    hub.publish(Talk(), Said(None, "nine grows", part_of=9))
    hub.publish(Talk(), Said(None, "part of nothing"))
    assert member.told == ["seven grows", "it is over", "nine grows", "part of nothing"]


async def test_a_topic_without_order_tells_everything(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, member, after=None)
    hub.publish(Talk(), Said(None, "a"))
    hub.publish(Talk(), Said(None, "a"))
    assert member.told == ["a", "a"]


async def test_a_joining_member_is_told_what_came_meanwhile_and_not_what_it_knows(start: Start) -> None:
    hub, member = await start(), Recorder()
    enter(hub, Recorder())
    membership = hub.join(Talk(), member, as_text)
    for seq in (1, 2, 3):
        hub.publish(Talk(), Said(seq))
    hub.publish(Talk(), Said(None, "a delta"))
    assert member.told == []
    membership.go_live(2)
    assert member.told == [3]
    hub.publish(Talk(), Said(4))
    assert member.told == [3, 4]


async def test_the_first_member_says_where_a_topic_stands(start: Start) -> None:
    hub, member = await start(), Recorder()
    membership = hub.join(Talk(), member, as_text)
    for seq in (8, 7, 6):
        hub.publish(Talk(), Said(seq))
    membership.go_live(6)
    assert member.told == [7, 8]


async def test_joining_an_active_topic_behind_it_leaves_the_others_alone(start: Start) -> None:
    hub, here, late = await start(), Recorder(), Recorder()
    enter(hub, here)
    for seq in (1, 2, 3):
        hub.publish(Talk(), Said(seq))
    enter(hub, late, after=1)
    hub.publish(Talk(), Said(4))
    assert here.told == [1, 2, 3, 4]
    assert late.told == [4]


async def test_joining_an_active_topic_ahead_of_it_is_told_only_what_is_new(start: Start) -> None:
    hub, here, ahead = await start(), Recorder(), Recorder()
    enter(hub, here)
    enter(hub, ahead, after=2)
    for seq in (1, 2, 3):
        hub.publish(Talk(), Said(seq))
    assert here.told == [1, 2, 3]
    assert ahead.told == [3]


async def test_a_paused_member_misses_nothing_that_has_a_place(start: Start) -> None:
    hub, member = await start(), Recorder()
    membership = enter(hub, member)
    hub.publish(Talk(), Said(1))
    membership.pause()
    membership.pause()
    hub.publish(Talk(), Said(2))
    hub.publish(Talk(), Said(None, "a delta"))
    hub.publish(Talk(), Said(3))
    assert member.told == [1]
    membership.go_live(2)
    assert member.told == [1, 3]


async def test_a_gap_is_not_filled_for_nobody(start: Start) -> None:
    database = Database(Said(1), Said(2))
    hub, member = await start(database=database), Recorder()
    membership = enter(hub, Recorder())
    hub.publish(Talk(), Said(2))
    hub.leave(membership)
    enter(hub, member)
    hub.publish(Talk(), Said(2))  # its gap is filled after the other's would have been
    await member.until(1, 2)
    assert database.asked == [0]


async def test_early_events_beyond_the_bound_are_dropped_and_read_from_the_database(start: Start) -> None:
    last = HELD + 3
    hub, member = await start(database=Database(*(Said(seq) for seq in range(1, last + 1)))), Recorder()
    enter(hub, member)
    for seq in range(2, last + 1):
        hub.publish(Talk(), Said(seq))
    assert hub.counts.dropped == 2
    await member.until(*range(1, last + 1))


async def test_a_member_that_is_paused_too_long_is_told_that_it_lost_something(start: Start) -> None:
    hub, member, live = await start(), Recorder(), Recorder()
    enter(hub, live)
    membership = hub.join(Talk(), member, as_text)
    for seq in range(1, HELD + 1):
        hub.publish(Talk(), Said(seq))
    assert (member.losses, hub.counts.lost) == (0, 0)
    for seq in range(HELD + 1, HELD + 4):
        hub.publish(Talk(), Said(seq))
    assert (member.losses, hub.counts.lost) == (1, 1)
    membership.go_live(HELD)
    hub.publish(Talk(), Said(HELD + 4))
    assert member.told == []
    assert live.told == list(range(1, HELD + 5))


@dataclass(frozen=True)
class Heavy:
    """A frame of so many bytes."""

    seq: int | None
    size: int = HELD_BYTES // 4


async def test_what_is_kept_for_a_paused_member_is_bounded_in_bytes_and_encoded_once(start: Start) -> None:
    hub, live, paused = await start(), Recorder(), [Recorder(), Recorder()]
    encoded: list[int | None] = []

    def heavy(event: Said) -> Heavy:
        encoded.append(event.seq)
        return Heavy(event.seq)

    enter(hub, live)
    memberships = [hub.join(Talk(), member, heavy) for member in paused]
    for seq in range(1, 5):
        hub.publish(Talk(), Said(seq))
    assert [member.losses for member in paused] == [0, 0]
    memberships[0].go_live(2)
    assert encoded == [1, 2, 3, 4]
    hub.publish(Talk(), Said(5))
    assert [member.losses for member in paused] == [0, 1]


async def test_what_was_erased_is_not_waited_for(start: Start) -> None:
    hub, member = await start(database=Database(Said(2))), Recorder()
    enter(hub, member)
    for seq in (4, 6):
        hub.publish(Talk(), Said(seq))
    await member.until(2, 4, 6)
    hub.publish(Talk(), Said(7))
    assert member.told == [2, 4, 6, 7]
