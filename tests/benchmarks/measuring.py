"""What every benchmark needs: where it ran, what a process used, and how to say it."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.environment import ROOT

_PACKAGES = ("Django", "channels", "uvicorn", "uvloop", "httptools", "websockets", "msgspec", "psycopg")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def surroundings() -> dict[str, Any]:
    """Return the machine, the versions and the commit, as a result must name them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "none",
        "changed": bool(_git("status", "--porcelain")),
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that `pids` have used so far, user and system, in seconds."""
    return sum(int(field) for pid in pids for field in _stat(pid)[11:13]) / _TICKS


def resident_bytes(pids: Sequence[int]) -> int:
    """Return the memory that `pids` hold now."""
    return sum(int(_stat(pid)[21]) * _PAGE for pid in pids)


def _stat(pid: int) -> list[str]:
    # The name, in parentheses, may contain anything; the fields after it are numbered from the state on.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of durations, in milliseconds."""
    return {
        "p50_ms": round(percentile(seconds, 0.5) * 1000, 2),
        "p99_ms": round(percentile(seconds, 0.99) * 1000, 2),
    }


def report(name: str, runs: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of `runs`, then one JSON object with them and their surroundings."""
    where = surroundings()
    print(f"\n{name}: {where['cpu']}, {where['cores']} cores, Python {where['python']}, commit {where['commit']}")
    for run in runs:
        print(f"  {run['what']}")
        for key, value in run.items():
            if key != "what":
                print(f"    {key:<34}{value:>14,}" if isinstance(value, int | float) else f"    {key:<34}{value:>14}")
    print(json.dumps({"benchmark": name, **where, "runs": list(runs)}), flush=True)
