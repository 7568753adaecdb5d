"""When the breaker lets calls through: every change of its state, on a clock of the test's own."""

import pytest

from conversations.responders.breaker import Breaker


class Clock:
    """A clock that goes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, rest=30.0, clock=clock)


def admitted(breaker: Breaker) -> int:
    number = breaker.admit()
    assert number is not None
    return number


def fail(breaker: Breaker, times: int = 3) -> list[bool]:
    """Let so many calls fail, one after another."""
    return [breaker.failed(admitted(breaker)) for _ in range(times)]


def test_it_opens_with_the_last_of_so_many_failures_in_a_row(breaker: Breaker) -> None:
    assert fail(breaker) == [False, False, True]
    assert not breaker.is_closed
    assert breaker.admit() is None


def test_a_success_in_between_begins_the_row_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert not breaker.succeeded(admitted(breaker))
    assert fail(breaker) == [False, False, True]


def test_an_end_that_says_nothing_neither_counts_nor_begins_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.ended(admitted(breaker))
    assert fail(breaker, 1) == [True]


def test_it_lets_one_call_find_out_after_its_rest_and_not_before(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 29.9
    assert breaker.admit() is None
    clock.now += 0.1
    admitted(breaker)
    assert breaker.admit() is None


def test_a_success_of_that_call_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 30
    assert breaker.succeeded(admitted(breaker))
    assert breaker.is_closed
    assert fail(breaker) == [False, False, True]


def test_a_failure_of_that_call_leaves_it_open_for_another_rest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 30
    assert breaker.failed(admitted(breaker))
    clock.now += 29.9
    assert breaker.admit() is None
    clock.now += 0.1
    assert breaker.succeeded(admitted(breaker))


def test_where_that_call_says_nothing_the_next_one_finds_out(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 30
    breaker.ended(admitted(breaker))
    assert not breaker.is_closed
    assert breaker.succeeded(admitted(breaker))


def test_a_call_that_began_before_is_not_heard(breaker: Breaker, clock: Clock) -> None:
    early = [admitted(breaker) for _ in range(3)]
    fail(breaker)
    assert not breaker.succeeded(early[0])
    assert breaker.admit() is None
    clock.now += 30
    probe = admitted(breaker)
    assert not breaker.failed(early[1])
    breaker.ended(early[2])
    assert breaker.admit() is None
    assert breaker.succeeded(probe)
