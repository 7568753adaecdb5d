"""What there is to be measured in one worker at a moment."""

import asyncio
import time

from chatgateway.metrics import process
from chatgateway.metrics.snapshot import Snapshot, Times, Totals, exact
from connections.hub import Hub
from connections.metrics import CPU, GAP, LAYER, Metrics
from connections.registry import Registry
from conversations import statistics
from conversations.responders.calls import Calls
from conversations.statistics import OpenOutbox
from conversations.store import Store
from conversations.turns import TurnRunner

LOOK = 2.0  # seconds between two looks for what costs more
SILENT = 5.0  # seconds without an answer of the database after which it counts as down


class Readings:
    """Reads the parts of one worker."""

    def __init__(
        self, *, metrics: Metrics, hub: Hub, registry: Registry, store: Store, turns: TurnRunner, model_calls: Calls
    ) -> None:
        self._metrics = metrics
        self._hub = hub
        self._registry = registry
        self._store = store
        self._turns = turns
        self._model_calls = model_calls
        self._outbox = OpenOutbox(0, 0.0)
        self._tasks = 0
        self._answered: float | None = None  # when the database did last

    async def look(self) -> None:
        """Read what costs more: what only the database knows, whether it answers at all, the number of tasks."""
        self._tasks = len(asyncio.all_tasks())
        self._outbox = await self._store.read(statistics.open_outbox)
        self._answered = time.monotonic()

    def snapshot(self) -> Snapshot:
        """Return the worker's numbers as they are now."""
        return Snapshot(time.monotonic(), Totals(self._counters(), self._histograms()), self._gauges())

    def _counters(self) -> dict[str, dict[str, float]]:
        counters: dict[str, dict[str, float]] = {}
        for (what, reason), count in self._metrics.copy().items():
            counters.setdefault(what, {})[reason] = count
        counts = self._hub.counts
        counters[GAP] = {"filled": counts.filled, "dropped": counts.dropped, "lost": counts.lost}
        counters[LAYER] = {"away": counts.away, "back": counts.back}
        counters[CPU] = {kind: exact(seconds) for kind, seconds in process.cpu_seconds().items()}
        return counters

    def _histograms(self) -> dict[str, Times]:
        metrics = self._metrics
        return {
            "first_words_seconds": Times.of(metrics.first_words),
            "answer_seconds": Times.of(metrics.whole_answers),
            "commit_seconds": Times.of(metrics.commits),
            "drain_seconds": Times.of(metrics.drains),
            "loop_lag_seconds": Times.of(metrics.loop_lags),
        }

    def _gauges(self) -> dict[str, dict[str, float]]:
        now = time.monotonic()
        memory = process.resident_bytes()
        descriptors, descriptors_limit = process.descriptors()
        silent = self._answered is not None and now - self._answered >= SILENT
        database_answers = not silent and not self._metrics.writes_fail
        plain: dict[str, float] = {
            "outbound_bytes": self._metrics.outbound_bytes,
            "turns": self._turns.running,
            "store_waiting": self._store.waiting,
            "model_calls": self._model_calls.in_flight,
            "model_breakers_open": self._model_calls.resting,
            "database_up": database_answers,
            "layer_up": self._hub.counts.away == self._hub.counts.back,
            "outbox_waiting": self._outbox.waiting,
            "outbox_late_seconds": self._outbox.late_seconds,
            "beat_age_seconds": now - self._registry.beat_at,
            "draining": self._turns.is_closing,
            "tasks": self._tasks,
            "resident_bytes": memory,
            "largest_resident_bytes": memory,
            "descriptors": descriptors,
            "descriptors_limit": descriptors_limit,
        }
        return {name: {"": float(value)} for name, value in plain.items()} | {"connections": {**self._registry.by_wire}}
