"""What a process counts, and how well its histograms tell of times."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.metrics import BOUNDS, MESSAGE, Histogram, Metrics, quantile


def observed(*seconds: float) -> tuple[int, ...]:
    histogram = Histogram()
    for one in seconds:
        histogram.observe(one)
    return histogram.counts


def test_things_are_counted_by_reason_and_nothing_leaves_no_trace() -> None:
    metrics = Metrics()
    metrics.count("letter", "unknown")
    metrics.count("letter", "unknown", 2)
    metrics.count("letter", "full")
    metrics.count("reply", "late", 0)
    assert metrics.counts == {("letter", "unknown"): 3, ("letter", "full"): 1}
    assert [metrics.total(what) for what in ("letter", "reply")] == [4, 0]


def test_threads_that_count_at_once_lose_nothing() -> None:
    metrics = Metrics()

    def count(_place: int) -> None:
        for _ in range(2_000):
            metrics.count(MESSAGE, "user")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    assert metrics.total(MESSAGE) == 16_000


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.01, 0), (0.011, 1), (60.0, 23), (61.0, 24), (1e6, 24)])
def test_a_time_is_counted_in_the_first_bucket_that_it_fits_in(seconds: float, bucket: int) -> None:
    assert observed(seconds).index(1) == bucket


def test_a_quantile_lies_between_the_bounds_in_proportion() -> None:
    counts = observed(*[0.6] * 10, *[6.0] * 10)  # between 0.5 and 0.7, and between 5 and 7
    assert quantile(counts, 0.25) == pytest.approx(0.6)
    assert quantile(counts, 0.5) == pytest.approx(0.7)
    assert quantile(counts, 0.75) == pytest.approx(6.0)


def test_of_nothing_there_is_no_quantile_and_beyond_the_last_bound_there_is_that_bound() -> None:
    assert quantile(observed(), 0.5) is None
    assert quantile((), 0.5) is None
    assert quantile(observed(300.0), 0.5) == BOUNDS[-1]


@given(times=st.lists(st.floats(0.01, 60), min_size=1), share=st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_as_exact_as_it_says(times: list[float], share: float) -> None:
    told = quantile(observed(*times), share)
    within = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    assert told is not None
    assert 3 / 5 - 1e-9 <= told / within <= 5 / 3 + 1e-9 or abs(told - within) <= BOUNDS[0]
