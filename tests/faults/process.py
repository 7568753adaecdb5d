"""What a gateway's process holds: memory, open files, tasks, connections."""

import contextlib
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import resident_bytes
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

MB = 1024 * 1024


PATIENCE = 60.0
POOLED = 12  # connections to PostgreSQL that the pool may open by and by


@dataclass(frozen=True)
class Holding:
    """What a process held at one moment. `descriptors` are those beside the files of its data folder."""

    megabytes: float
    descriptors: int
    tasks: int
    connections: int
    turns: int

    def is_idle(self) -> bool:
        """Tell whether nobody is connected and no answer is under way."""
        return not self.connections and not self.turns

    def is_back_to(self, base: "Holding", kept: int) -> bool:
        """Tell whether it is idle again with no more than at the `base`, but for `kept` connections of its own."""
        return self.is_idle() and self.descriptors <= base.descriptors + POOLED + kept and self.tasks <= base.tasks


def holding(gateway: GatewayProcess) -> Holding:
    """Return what a gateway of one process holds now, by /proc and its own /metrics."""
    numbers = _metrics(gateway)
    return Holding(
        megabytes=resident_bytes([gateway.pid]) / MB,
        descriptors=_descriptors(gateway),
        tasks=int(numbers["chatgateway_tasks"]),
        connections=sum(int(value) for name, value in numbers.items() if name.startswith("chatgateway_connections{")),
        turns=int(numbers["chatgateway_turns"]),
    )


def idle(gateway: GatewayProcess, base: Holding | None = None, *, kept: Callable[[], int] = lambda: 0) -> Holding:
    """Return what it holds once it is idle, or where there is a `base`, back to that.

    `kept` tells how many connections to a model it keeps for its next call; a client closes them when it makes one.
    """
    found = holding(gateway)

    def is_reached() -> bool:
        nonlocal found
        found = holding(gateway)
        return found.is_idle() if base is None else found.is_back_to(base, kept())

    wait_until(is_reached, timeout=PATIENCE, what=f"what it held at first, {base},", detail=lambda: str(found))
    return found


def _descriptors(gateway: GatewayProcess) -> int:
    count = 0
    for path in Path("/proc", str(gateway.pid), "fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            count += not path.readlink().is_relative_to(gateway.data_dir)
    return count


def _metrics(gateway: GatewayProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=15) as answer:  # noqa: S310  an address of ours
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name and name[0] != "#"
    }
