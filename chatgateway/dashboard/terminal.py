"""The state of the gateway in lines for a terminal."""

from collections.abc import Iterator, Sequence

from django.utils import timezone

from chatgateway.dashboard.charts import seconds
from chatgateway.dashboard.status import Latency, Share, Status, WorkerStatus

NAMES = 22  # characters for the names on the left


def lines(status: Status) -> Iterator[str]:
    """Give the lines, aligned."""
    work, mail = status.work, status.mailboxes
    yield f"Chat gateway at {timezone.localtime(status.at):%Y-%m-%d %H:%M:%S %Z}"
    yield ""
    yield _line("Connections", f"{status.connections:,}")
    yield from _shares("  by wire", status.by_wire)
    yield from _shares("  by pipeline", status.by_pipeline)
    yield _line(
        "Messages a minute", f"{status.messages_last_minute:,}", f"{status.messages_this_minute:,} so far in this one"
    )
    yield _line("Turns in flight", f"{work.running_turns:,}", f"{work.queued_turns:,} queued")
    yield _latency("First words", status.first_words)
    yield _latency("Whole answer", status.whole_answers)
    yield _line("Errors", f"{status.errors_last_hour:,}", "in the last hour")
    yield _line("Waiting for a person", f"{work.waiting_sessions:,}")
    yield _line("Contact requests", f"{work.contact_requests:,}", "without a reply")
    yield _line("Mailboxes waiting", f"{mail.clients:,}", f"{mail.letters:,} letters")
    yield ""
    yield from _workers(status.workers)


def _line(name: str, value: str, note: str = "") -> str:
    return f"{name:<{NAMES}}{value:>8}  {note}".rstrip()


def _shares(name: str, shares: Sequence[Share]) -> Iterator[str]:
    for place, share in enumerate(one for one in shares if one.connections):
        yield _line("" if place else name, f"{share.connections:,}", share.name)


def _latency(name: str, latency: Latency) -> str:
    if latency.p50 is None or latency.p95 is None:
        return _line(name, "-", "no answer in 5 minutes")
    return _line(name, seconds(latency.p50), f"p50, {seconds(latency.p95)} p95 of {latency.answers:,} in 5 minutes")


def _workers(workers: Sequence[WorkerStatus]) -> Iterator[str]:
    if not workers:
        yield "No worker runs."
        return
    width = max(len(_name(one)) for one in workers)
    yield f"{'Worker':<{width}}  State  Since                Heartbeats  Connections"
    for one in workers:
        state = "ended" if one.worker.ended_at else "live"
        since = timezone.localtime(one.worker.started_at)
        place = f"{_name(one):<{width}}  {state:<5}  {since:%Y-%m-%d %H:%M:%S}"
        yield f"{place}  {one.worker.beat:>10}  {one.connections:>11}"


def _name(one: WorkerStatus) -> str:
    return f"{one.worker.host}:{one.worker.pid}"
