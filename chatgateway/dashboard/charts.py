"""Charts as lines, bars and words of an SVG picture; pure: values in, coordinates out."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

WIDTH, HEIGHT = 480, 200  # of the picture, in its own units
LEFT, RIGHT, TOP, BOTTOM = 54, 8, 10, 24  # margins for the axes' words
STEPS = 5  # lines across, at most
_PLOT = WIDTH - LEFT - RIGHT
_FLOOR = HEIGHT - BOTTOM

Value = float | None
Kind = Literal["area", "line", "bars"]
Words = Callable[[float], str]


class Series(msgspec.Struct, frozen=True):
    """Something that was measured in each period; None where there was nothing to measure."""

    name: str
    values: Sequence[Value]
    kind: Kind = "line"


class Axis(msgspec.Struct, frozen=True):
    """The time that is drawn: when it begins, and the length of each of its `count` periods."""

    since: datetime
    length: timedelta
    count: int


class Shape(msgspec.Struct, frozen=True):
    """A path of one series; `number` chooses its colour."""

    number: int
    kind: Literal["area", "line", "bars"]
    path: str


class Mark(msgspec.Struct, frozen=True):
    """A place on an axis, or a column to point at, and its words."""

    place: float
    words: str


class Legend(msgspec.Struct, frozen=True):
    """A series by name, with its newest value."""

    number: int
    name: str
    newest: str


class Chart(msgspec.Struct, frozen=True):
    """A picture ready to be written down; `summary` says it to those who do not see it."""

    id: str
    title: str
    unit: str
    summary: str
    shapes: list[Shape]
    legend: list[Legend]
    rows: list[Mark]
    columns: list[Mark]
    hits: list[Mark]
    hit_width: float


def draw(id_: str, title: str, unit: str, axis: Axis, series: Sequence[Series], words: Words) -> Chart:
    """Draw `series` over the time of `axis`, which is in the zone that is to be shown; `words` says a value."""
    highest = max((value for one in series for value in one.values if value is not None), default=0.0)
    step = _step(highest, least=1 if words is number else 0.01)
    top = step * max(1, math.ceil(highest / step))
    width = _PLOT / axis.count

    def across(place: float) -> float:
        return round(LEFT + place * width, 1)

    def up(value: float) -> float:
        return round(_FLOOR - value / top * (_FLOOR - TOP), 1)

    return Chart(
        id=id_,
        title=title,
        unit=unit,
        summary=_summary(series, words),
        shapes=[shape for place, one in enumerate(series) for shape in _shapes(place, one, across, up)],
        legend=[Legend(place, one.name, _say(one.values[-1], words)) for place, one in enumerate(series)],
        rows=[Mark(up(step * line), words(step * line)) for line in range(round(top / step) + 1)],
        columns=_columns(axis, across),
        hits=[Mark(across(place + 0.5), _told(place, axis, series, words)) for place in range(axis.count)],
        hit_width=round(width, 2),
    )


def number(value: float) -> str:
    """Say a count."""
    return f"{value / 1000:g}k" if value >= 10_000 and value % 100 == 0 else f"{value:,.0f}"


def seconds(value: float) -> str:
    """Say a duration."""
    if value >= 10:
        return f"{value:.0f} s"
    return f"{value:.2g} s" if value >= 1 or value == 0 else f"{value * 1000:.0f} ms"


def _step(highest: float, least: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that STEPS of it reach what is highest."""
    wanted = max(highest / STEPS, least)
    power: float = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * 0.9999)


def _shapes(place: int, series: Series, across: Callable[[float], float], up: Callable[[float], float]) -> list[Shape]:
    if series.kind == "bars":
        bars = "".join(
            f"M{across(x + 0.1)} {_FLOOR}V{up(value)}H{across(x + 0.9)}V{_FLOOR}Z"
            for x, value in enumerate(series.values)
            if value
        )
        return [Shape(place, "bars", bars)] if bars else []
    runs = _runs(series.values)
    line = "".join(
        "M" + "L".join(f"{across(x + 0.5)} {up(value)}" for x, value in run) + ("h0" if len(run) == 1 else "")
        for run in runs
    )
    shapes = [Shape(place, "line", line)] if line else []
    if series.kind == "area" and line:
        area = "".join(
            f"M{across(run[0][0] + 0.5)} {_FLOOR}L"
            + "L".join(f"{across(x + 0.5)} {up(value)}" for x, value in run)
            + f"V{_FLOOR}Z"
            for run in runs
        )
        shapes.insert(0, Shape(place, "area", area))
    return shapes


def _runs(values: Sequence[Value]) -> list[list[tuple[int, float]]]:
    """Return the values that follow one another without a gap, each with its place."""
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is not None:
            runs[-1].append((place, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _columns(axis: Axis, across: Callable[[float], float]) -> list[Mark]:
    """Return round times to write below: each quarter of an hour, or each four hours."""
    minutes = 15 if axis.count * axis.length <= timedelta(hours=1) else 240
    marks = []
    for minute in range(round(axis.count * axis.length / timedelta(minutes=1))):
        time = axis.since + timedelta(minutes=minute)
        place = across(timedelta(minutes=minute) / axis.length)
        if (time.hour * 60 + time.minute) % minutes == 0 and LEFT + 12 < place < WIDTH - RIGHT - 12:
            marks.append(Mark(place, f"{time:%H:%M}"))
    return marks


def _told(place: int, axis: Axis, series: Sequence[Series], words: Words) -> str:
    """Say what was measured in a period."""
    said = ", ".join(f"{one.name}: {_say(one.values[place], words)}" for one in series)
    return f"{axis.since + place * axis.length:%H:%M} {said}"


def _summary(series: Sequence[Series], words: Words) -> str:
    told = []
    for one in series:
        known = [value for value in one.values if value is not None]
        if known:
            newest = _say(one.values[-1], words)
            told.append(f"{one.name}: lowest {words(min(known))}, highest {words(max(known))}, newest {newest}.")
        else:
            told.append(f"{one.name}: nothing was measured.")
    return " ".join(told)


def _say(value: Value, words: Words) -> str:
    return "–" if value is None else words(value)
