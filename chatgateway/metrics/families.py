"""Everything that /metrics tells, by name: what it is, and what of it is told from the first moment on, as 0.

A counter is told as `chatgateway_<name>_total{reason="…"}`, a gauge and a histogram as `chatgateway_<name>`. Reasons
and labels are words of the code's own, so there are only so many.
"""

from collections.abc import Callable, Iterable

import msgspec

from connections import metrics
from conversations.responders.calls import Failure
from conversations.types import Outcome, Role
from integrations.limiting import CALL, MESSAGE, PLACE, SESSION_TURN, TURN
from integrations.postoffice.courier import FOREIGN, REPLY, TOO_LATE
from integrations.postoffice.sorting import LETTER, RECIPIENT

SOCKETS = ("langbot", "postoffice", "contact", "wechat", "live")


class Counter(msgspec.Struct, frozen=True):
    """What is counted, and the reasons that are known beforehand."""

    help: str
    reasons: tuple[str, ...]


class Gauge(msgspec.Struct, frozen=True):
    """What is measured now, how the workers' values become one, and by which label it is told apart, if any."""

    help: str
    combine: Callable[[Iterable[float]], float] = sum
    label: str = ""
    values: tuple[str, ...] = ("",)


COUNTERS = {
    metrics.MESSAGE: Counter("Messages stored and acknowledged, by role.", tuple(Role)),
    metrics.ANSWER: Counter("Turns that ended, by outcome.", tuple(Outcome)),
    metrics.ERROR: Counter("Turns that failed or were cut, and faults of our own.", ("failed", "cut", "fault")),
    metrics.RESUME: Counter("Resumes, by result.", ("complete", "incomplete", "failed")),
    metrics.REPLAYED: Counter("Messages told again by a resume, by wire.", SOCKETS[:-1]),
    metrics.FEEDBACK: Counter("What visitors thought of answers, by what they said.", ("up", "down", "none")),
    metrics.REPEATED: Counter(
        "Questions whose id had been here before, by what came of it.", ("answered", "joined", "refused")
    ),
    metrics.GAP: Counter(
        "Events that sockets would have missed: read from the database, not held or sent, or the socket given up.",
        ("filled", "dropped", "lost"),
    ),
    metrics.TAKEN_OVER: Counter("Turns that another worker left, by what came of them.", ("anew", "broken off")),
    metrics.OPENED: Counter("Connections opened, by wire.", SOCKETS),
    metrics.CLOSED: Counter("Connections ended, by close code.", (*metrics.CLOSE_CODES, metrics.OTHER)),
    metrics.DEAD_PEER: Counter("Connections whose peer answered no more, by wire.", (*SOCKETS, "http")),
    metrics.REFUSED_HANDSHAKE: Counter(
        "Upgrades refused, by reason.", ("origin", "proxy", "full", "address", "rate", "path", metrics.OTHER)
    ),
    metrics.REFUSED_FRAME: Counter("Frames that are not of their wire, by wire.", SOCKETS),
    metrics.LIMIT: Counter(
        "Requests over a limit, by kind.",
        (
            *(CALL, PLACE, TURN),
            *(f"{wire}.{kind}" for wire in SOCKETS[:-1] for kind in (MESSAGE, SESSION_TURN)),
            f"yishiting.{SESSION_TURN}",
        ),
    ),
    metrics.SHED: Counter(
        "What was refused because something is full, by what.", ("connections", "turns", "writes", "reads", "models")
    ),
    metrics.GHOST: Counter("Connections of lost workers that were ended for them.", ("cleared",)),
    metrics.WORKER: Counter("Workers started, found lost, and found so by others.", ("started", "lost", "fenced")),
    metrics.LAYER: Counter("How often the layer (Redis) went away and came back.", ("away", "back")),
    metrics.STORE: Counter("Writes that failed, by reason.", ("unavailable", "unknown", "unstorable")),
    metrics.JOB: Counter("Writes that were committed; with the number of commits, the size of a batch.", ("written",)),
    metrics.MODEL: Counter("Calls to models that failed, by reason.", tuple(Failure)),
    metrics.BREAKER: Counter("How often a model's breaker opened and closed.", ("opened", "closed")),
    metrics.OUTBOX: Counter("Attempts to deliver from the outbox.", ("sent", "again", "failed")),
    LETTER: Counter("Letters of the hub that are none, or for nobody.", ("no letter", "no recipient")),
    RECIPIENT: Counter("Recipients who did not get a letter of the hub.", ("refused",)),
    REPLY: Counter("Replies of services that reached nobody.", (TOO_LATE, FOREIGN)),
    metrics.CLOCK: Counter("Jumps of the wall clock against the monotonic one.", ("forth", "back")),
    metrics.CPU: Counter("Seconds of CPU time.", ("user", "system")),
}
HISTOGRAMS = {
    "first_words_seconds": "Seconds from a turn's beginning to its first words.",
    "answer_seconds": "Seconds from a turn's beginning to its end.",
    "commit_seconds": "Seconds of a transaction of the writer.",
    "drain_seconds": "Seconds that a stopping worker's answers took to end.",
    "loop_lag_seconds": "Seconds that the event loop was late for an appointment; what a ping waits, at least.",
}
GAUGES = {
    "connections": Gauge("Connections that are open, by wire.", label="wire", values=SOCKETS),
    "outbound_bytes": Gauge("Bytes that wait for peers to read."),
    "turns": Gauge("Turns that run."),
    "store_waiting": Gauge("Writes that wait for their commit."),
    "model_calls": Gauge("Calls to models in flight."),
    "model_breakers_open": Gauge("Breakers of models that are open, over the workers."),
    "database_up": Gauge("1 while the database answers every worker.", min),
    "layer_up": Gauge("1 while the layer (Redis) answers every worker; 1 also where there is none.", min),
    "outbox_waiting": Gauge("Deliveries that wait in the outbox.", max),
    "outbox_late_seconds": Gauge("Seconds that the oldest delivery is overdue.", max),
    "beat_age_seconds": Gauge("Seconds since the lease was counted up, of the worker that is last.", max),
    "draining": Gauge("Workers that are stopping."),
    "tasks": Gauge("Tasks of the event loops."),
    "resident_bytes": Gauge("Memory of all workers."),
    "largest_resident_bytes": Gauge("Memory of the worker with most.", max),
    "descriptors": Gauge("Open files and sockets of the worker with most.", max),
    "descriptors_limit": Gauge("Open files and sockets that a worker may have.", min),
    # Made up while it is told:
    "workers_live": Gauge("Workers of this machine that live."),
    "report_age_seconds": Gauge("Seconds since the last report of the worker that is silent for longest.", max),
}
