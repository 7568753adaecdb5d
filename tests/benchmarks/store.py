"""Acknowledged messages a second through the store: concurrent writers, each waiting for its COMMIT.

usage: python -m tests.benchmarks.store [--database sqlite|postgres] [--writers N] [--seconds S]
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import django
import uvloop
from django.core.management import call_command

from tests.benchmarks.measuring import milliseconds, report
from tests.support.databases import PostgresServer
from tests.support.environment import plain_environment

DEPTHS = (1, 50)


async def measure(writers: int, depth: int, seconds: float) -> dict[str, Any]:
    """Let `writers` sessions keep `depth` messages on their way each, and count the acknowledgements."""
    from conversations.jobs import Accept  # noqa: PLC0415  after django.setup()
    from conversations.models import Message, Pipeline  # noqa: PLC0415
    from conversations.store import Store  # noqa: PLC0415
    from conversations.types import Question, SessionKey  # noqa: PLC0415

    store = Store()
    pipeline, _ = await Pipeline.objects.aget_or_create(name="benchmark")
    before = await Message.objects.acount()
    worker = uuid4()
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def write(session: SessionKey) -> None:
        while (began := time.perf_counter()) < end:
            question = Question(session, "langbot", "A question of ordinary length, in words.", wants_answer=False)
            await store.write(Accept(question, pipeline.pk, worker))
            latencies.append(time.perf_counter() - began)

    sessions = [SessionKey(uuid4(), pipeline.uuid, "person") for _ in range(writers)]
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(write(session) for session in sessions for _ in range(depth)))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    await store.stop()
    stored = await Message.objects.acount() - before
    if stored != len(latencies):
        raise SystemExit(f"{len(latencies)} messages were acknowledged, but {stored} are stored.")
    return {
        "what": f"{writers} writers, {depth} message(s) on the way each",
        "acknowledged": len(latencies),
        "acknowledged_per_second": round(len(latencies) / took),
        "acknowledged_per_cpu_second": round(len(latencies) / used),
        **milliseconds(latencies),
    }


def main() -> None:
    """Prepare a database of its own and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        # Not in /tmp, which may lie in memory: what is measured is a disk that is waited for.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())))
        os.environ.update(plain_environment(folder, DJANGO_SETTINGS_MODULE="chatgateway.settings"))
        if options.database == "postgres":
            server = PostgresServer(durable=True)
            stack.callback(server.close)
            server.start()
            os.environ["DATABASE_URL"] = server.create_database()
        django.setup()
        call_command("migrate", verbosity=0)
        runs = [uvloop.run(measure(options.writers, depth, options.seconds)) for depth in DEPTHS]
    report(f"store on {options.database}", runs)


if __name__ == "__main__":
    main()
