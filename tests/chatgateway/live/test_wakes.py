"""Wake-ups: the first at once, the many after it as one."""

import asyncio

from chatgateway.live.events import Changed, StaffTopic, What
from chatgateway.live.wakes import APART, Wakes
from tests.connections.doubles import Recorder

SOON = 0.05


def start(told: Recorder, apart: float = SOON) -> Wakes:
    return Wakes(lambda topic, event: told.push((topic, event)), apart=apart)


def wake(what: What) -> tuple[StaffTopic, Changed]:
    return StaffTopic(), Changed(what)


async def test_the_first_change_is_told_at_once_and_those_right_after_it_once() -> None:
    told = Recorder()
    wakes = start(told)
    for _ in range(100):
        wakes.note("connections")
    assert told.told == [wake("connections")]
    await told.until(wake("connections"), wake("connections"))
    assert not await told.within(4 * SOON, lambda: len(told.told) > 2), "what was told is told once"


async def test_a_change_long_after_the_last_is_told_at_once() -> None:
    told = Recorder()
    loop = asyncio.get_running_loop()
    wakes = start(told)
    wakes.note("connections")
    over = loop.create_future()
    loop.call_later(2 * SOON, over.set_result, None)
    await over
    wakes.note("connections")
    assert told.told == [wake("connections")] * 2


async def test_kinds_do_not_wait_for_one_another() -> None:
    told = Recorder()
    wakes = start(told, APART)
    wakes.note("connections")
    wakes.note("conversations")
    assert told.told == [wake("connections"), wake("conversations")]


async def test_changes_that_go_on_are_told_no_more_often_than_the_pause_allows() -> None:
    told = Recorder()
    loop = asyncio.get_running_loop()
    wakes = start(told)
    began = loop.time()
    while len(told.told) < 5:
        wakes.note("conversations")
        await asyncio.sleep(0)
    assert loop.time() - began >= 4 * SOON * 0.9
