"""Charts: what their lines, bars and words say."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from chatgateway.dashboard.charts import HEIGHT, WIDTH, Axis, Chart, Series, Value, draw, number, seconds

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def chart(*series: Series, axis: Axis | None = None) -> Chart:
    return draw("id", "Title", "a minute", axis or Axis(NOON, MINUTE, len(series[0].values)), series, number)


def one(*values: Value) -> Series:
    return Series("Stored", values, "area")


def test_a_gap_breaks_the_line_and_a_lonely_value_is_a_dot() -> None:
    drawn = chart(Series("p50", [1, 2, None, 3, None]))
    assert re.fullmatch(r"M\S+ \S+L\S+ \S+M\S+ [\d.]+h0", drawn.shapes[0].path)


def test_an_area_lies_below_its_line() -> None:
    assert [shape.kind for shape in chart(one(1, 2)).shapes] == ["area", "line"]


def test_bars_stand_where_there_is_something() -> None:
    drawn = chart(Series("Errors", [0, 2, 0, 1], "bars"))
    assert drawn.shapes[0].path.count("M") == 2
    assert chart(Series("Errors", [0, 0], "bars")).shapes == []


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    drawn = chart(one(0, 97, 3.5, 100))
    places = [float(value) for value in re.findall(r"[\d.]+", drawn.shapes[1].path)]
    across, down = places[::2], places[1::2]
    assert 0 < min(across) <= max(across) < WIDTH
    assert 0 < min(down) <= max(down) < HEIGHT
    assert min(down) == drawn.rows[-1].place  # 100 is the highest line


@pytest.mark.parametrize(
    ("highest", "rows"),
    [(0, ["0", "1"]), (3, ["0", "1", "2", "3"]), (90, ["0", "20", "40", "60", "80", "100"]),
     (41_000, ["0", "10k", "20k", "30k", "40k", "50k"])],
)  # fmt: skip
def test_lines_across_stand_at_round_numbers_that_reach_the_highest(highest: float, rows: list[str]) -> None:
    assert [row.words for row in chart(one(0, highest)).rows] == rows


def test_an_hour_is_labelled_by_quarters_and_a_day_by_fours_of_hours() -> None:
    hour = chart(one(*[1] * 60), axis=Axis(NOON + 2 * MINUTE, MINUTE, 60))
    assert [mark.words for mark in hour.columns] == ["12:15", "12:30", "12:45", "13:00"]
    day = chart(one(*[1] * 144), axis=Axis(NOON + 2 * MINUTE, 10 * MINUTE, 144))
    assert [mark.words for mark in day.columns] == ["16:00", "20:00", "00:00", "04:00", "08:00"]


def test_every_period_says_its_values_and_the_whole_is_summed_up() -> None:
    drawn = draw("id", "Latency", "", Axis(NOON, MINUTE, 2), [
        Series("p50", [None, 0.25]), Series("p95", [None, 12.0]), Series("p99", [None, None]),
    ], seconds)  # fmt: skip
    assert [hit.words for hit in drawn.hits] == ["12:00 p50: –, p95: –, p99: –", "12:01 p50: 250 ms, p95: 12 s, p99: –"]
    assert drawn.summary.startswith("p50: lowest 250 ms, highest 250 ms, newest 250 ms.")
    assert drawn.summary.endswith("p99: nothing was measured.")
    assert [(one.name, one.newest) for one in drawn.legend] == [("p50", "250 ms"), ("p95", "12 s"), ("p99", "–")]


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0 s"), (0.0123, "12 ms"), (1.0, "1 s"), (2.34, "2.3 s"), (59.6, "60 s")]
)
def test_durations_are_said_shortly(value: float, words: str) -> None:
    assert seconds(value) == words
