"""The numbers of several workers in one folder: whoever looks sees all, and what was counted stays."""

import fcntl
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatgateway.metrics.shelf import Shelf
from chatgateway.metrics.snapshot import Snapshot, Times, Totals, exact
from connections.metrics import BOUNDS

Take = Callable[[], Shelf]


def snapshot(count: float) -> Snapshot:
    times = Times((*[0] * len(BOUNDS), int(count)), count * 100)
    return Snapshot(1.0, Totals({"messages": {"user": count}}, {"answer_seconds": times}), {"turns": {"": count}})


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Take]:
    """A function that gives a place on one shelf."""
    shelves: list[Shelf] = []

    def take() -> Shelf:
        shelves.append(Shelf(tmp_path / "metrics"))
        return shelves[-1]

    yield take
    for shelf in shelves:
        shelf.leave()


def counted(shelf: Shelf) -> tuple[float, int]:
    """Return what the others have counted, those that ended and those that live, and how many live."""
    ended, live = shelf.look()
    all_ = [ended, *(one.totals for one in live)]
    times = sum(sum(totals.histograms["answer_seconds"].counts) for totals in all_ if totals.histograms)
    messages = sum(totals.counters["messages"]["user"] for totals in all_ if totals.counters)
    assert times == messages
    return messages, len(live)


def test_everybody_sees_the_newest_of_all_others(take: Take) -> None:
    one, two, three = take(), take(), take()
    one.put(snapshot(1))
    two.put(snapshot(10))
    three.put(snapshot(100))
    two.put(snapshot(20))
    assert [counted(shelf) for shelf in (one, two, three)] == [(120, 2), (101, 2), (21, 2)]


def test_two_threads_that_are_the_first_at_the_same_time_both_come_to_an_end(take: Take, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    shelf = take()
    begun = [threading.Event(), threading.Event()]

    def put(number: int) -> None:
        begun[number].set()
        shelf.put(snapshot(number + 1))

    threads = [threading.Thread(target=put, args=(number,), daemon=True) for number in range(2)]
    with (tmp_path / "metrics" / "shelf").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for thread in threads:
            thread.start()
        assert all(event.wait(10) for event in begun)
        threads[0].join(0.2)  # both are on their way in by now, and neither can be there
        assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert counted(take())[1] == 1


def test_of_those_that_ended_the_counts_stay_and_the_gauges_go(take: Take, tmp_path: Path) -> None:
    watching = take()
    watching.put(snapshot(0))
    for _ in range(3):
        one = take()
        one.put(snapshot(5))
        before, live = counted(watching)
        one.leave()
        assert (before, live) == (counted(watching)[0], 1)
    assert counted(watching) == (15, 0)
    newcomer = take()
    newcomer.put(snapshot(0))  # adds up those that ended
    assert counted(watching) == (15, 1)
    files = {path.suffix for path in (tmp_path / "metrics").iterdir()}
    assert (len(list((tmp_path / "metrics").glob("*.lock"))), files) == (2, {".lock", ".json", ""})


def test_who_was_added_up_is_not_counted_again_where_his_files_could_not_be_removed(take: Take, tmp_path: Path) -> None:
    folder, kept = tmp_path / "metrics", tmp_path / "kept"
    one = take()
    one.put(snapshot(7))
    one.leave()
    shutil.copytree(folder, kept)
    two = take()
    two.put(snapshot(0))
    for path in kept.glob("*-*"):  # as if it had been killed before it came to that
        shutil.copy(path, folder)
    assert counted(two) == (7, 0)
    take().put(snapshot(0))
    assert counted(two) == (7, 1)
    assert len(list(folder.glob("*.lock"))) == 2


def test_what_cannot_be_read_is_left_out(take: Take, tmp_path: Path) -> None:
    one, two = take(), take()
    one.put(snapshot(1))
    two.put(snapshot(2))
    for path in (tmp_path / "metrics").glob("*-*.json"):
        path.write_bytes(path.read_bytes()[:20])
    assert counted(one) == (0, 0)
    two.put(snapshot(3))
    assert counted(one) == (3, 1)


@given(st.lists(st.floats(0, 1e6), min_size=2))
def test_a_sum_is_the_same_in_whichever_order_it_is_made(seconds: list[float]) -> None:
    times = [Times((), exact(one)) for one in seconds]
    forwards = reduce(Times.plus, times)
    assert forwards == reduce(Times.plus, reversed(times))
    assert forwards == times[0].plus(reduce(Times.plus, times[1:]))


def test_buckets_of_another_release_are_not_mixed_with_ours() -> None:
    ours, theirs = Times((1, 2), 3.0), Times((1, 2, 3), 4.0)
    assert ours.plus(theirs) == ours
    assert ours.plus(ours) == Times((2, 4), 6.0)
