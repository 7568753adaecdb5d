"""Write docs/reliability.md from what the fault tests measured: `python -m tests.faults.report FILE [--anew]`.

FILE holds the newest measurements; those of tests that it does not name stay as they were in docs/reliability.json,
unless they are told `--anew`.
"""

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.faults.measuring import Measurement
from tests.faults.promises import PROMISES
from tests.support.environment import ROOT

DATA = ROOT / "docs" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

What the gateway promises, and what was measured when it was broken on purpose: processes killed, servers stopped,
sockets stalled. `make faults` runs the long versions of `tests/faults/` and writes this page; `make test` runs short
ones. A row that misses its figure says so. Times are those of one small machine ({machine}), which does much else at
the same time.

| | promise | promised | on | measured | | date | command |
|---|---|---|---|---|---|---|---|
"""


def read(lines: Iterable[str]) -> list[Measurement]:
    """Return the measurements in `lines`."""
    return [msgspec.json.decode(line, type=Measurement) for line in lines if line.strip()]


def merge(old: list[Measurement], new: list[Measurement]) -> list[Measurement]:
    """Return `new`, and of `old` what tests measured that `new` does not name."""
    measured_anew = {measurement.test for measurement in new}
    return [measurement for measurement in old if measurement.test not in measured_anew] + new


def table(measurements: list[Measurement]) -> str:
    """Return the rows of the page: every promise, measured or not, then what was measured beside them."""
    others = sorted({measurement.promise for measurement in measurements} - PROMISES.keys())
    rows = []
    for promise in (*PROMISES, *others):
        title, promised = PROMISES.get(promise, (promise, ""))
        found = sorted((m for m in measurements if m.promise == promise), key=lambda m: (m.on, m.test))
        rows += [_row(promise, title, promised, measurement) for measurement in found]
        if not found:
            rows.append(f"| {promise} | {title} | {promised} | | not measured | **missing** | | |\n")
    return "".join(rows)


def _row(promise: str, title: str, promised: str, measurement: Measurement) -> str:
    verdict = "holds" if measurement.holds else "**missed**"
    if not measurement.long:
        verdict += " (short run)"
    name = measurement.test.rpartition("::")[2].partition("[")[0]
    figure = " ".join(measurement.figure.split()).replace("|", "\\|")
    command = f'`make faults ARGS="-k {name}"`'
    row = (promise, title, promised, measurement.on, figure, verdict, measurement.date, command)
    return f"| {' | '.join(row)} |\n"


def main() -> None:
    """Merge, and write both files."""
    path, *options = sys.argv[1:]
    new = read(Path(path).read_text().splitlines()) if Path(path).exists() else []
    old = (
        []
        if "--anew" in options or not DATA.exists()
        else msgspec.json.decode(DATA.read_bytes(), type=list[Measurement])
    )
    measurements = merge(old, new)
    DATA.write_bytes(msgspec.json.format(msgspec.json.encode(measurements), indent=1) + b"\n")
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    PAGE.write_text(HEAD.format(machine=machine) + table(measurements))


if __name__ == "__main__":
    main()
