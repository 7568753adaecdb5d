"""The two lengths of a fault test, and what one measured.

`make test` runs the short versions; `make faults` the long ones, and keeps what they measured for docs/reliability.md.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

LONG = os.environ.get("FAULTS") == "long"
REPORT = "FAULTS_REPORT"  # names the variable with the file that measurements are noted in, one JSON object a line

Place = Literal["SQLite", "PostgreSQL", "PostgreSQL + Valkey", "any database"]
T = TypeVar("T")


class Measurement(msgspec.Struct, frozen=True):
    """One figure: of which promise, where, by which test, and whether it is what was promised."""

    promise: str
    on: str
    figure: str
    holds: bool
    test: str
    date: str
    long: bool


def at_length(short: T, long: T) -> T:
    """Return how much is done: `short` in `make test`, `long` in `make faults`."""
    return long if LONG else short


def note(promise: str, *, on: str, figure: str, holds: bool, test: str) -> None:
    """Append a measurement to the report's file, where a report is asked for."""
    path = os.environ.get(REPORT)
    if path is None:
        return
    today = datetime.now(UTC).date().isoformat()
    measurement = Measurement(promise, on, figure, holds, test, today, LONG)
    with Path(path).open("ab") as file:
        file.write(msgspec.json.encode(measurement) + b"\n")
