"""How long staff's pages take on a deployment with much in it, one after another: see tests/support/crowd.py.

usage: python -m tests.benchmarks.admin [--database sqlite|postgres] [--rounds N]
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from tests.benchmarks.measuring import report
from tests.support.databases import PostgresServer
from tests.support.environment import plain_environment


def measure(rounds: int) -> list[dict[str, Any]]:
    """Fetch every page `rounds` times, each time as the first who looks; the slowest comes first."""
    from django.contrib.auth.models import User  # noqa: PLC0415  after django.setup()
    from django.core.cache import cache  # noqa: PLC0415
    from django.db import connection, transaction  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from tests.support import crowd  # noqa: PLC0415

    with transaction.atomic():
        crowd.build(crowd.FULL)
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("owner"))
    runs = []
    for page in crowd.pages():
        client.get(page)  # warm
        times = []
        for _ in range(rounds):
            cache.clear()
            began = time.perf_counter()
            client.get(page)
            times.append((time.perf_counter() - began) * 1000)
        cache.clear()
        with CaptureQueriesContext(connection) as captured:
            client.get(page)
        runs.append({"what": page, "median_ms": round(sorted(times)[rounds // 2]), "queries": len(captured)})
    return sorted(runs, key=lambda run: -run["median_ms"])


def close() -> None:
    """Leave the database."""
    from django.db import connections  # noqa: PLC0415  after django.setup()

    connection: Any = connections["default"]
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()


def main() -> None:
    """Prepare a database of its own and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd())))
        os.environ.update(plain_environment(folder, DJANGO_SETTINGS_MODULE="chatgateway.settings"))
        if options.database == "postgres":
            server = PostgresServer()
            stack.callback(server.close)
            server.start()
            os.environ["DATABASE_URL"] = server.create_database()
        django.setup()
        call_command("migrate", verbosity=0)
        runs = measure(options.rounds)
        close()
    report(f"staff's pages on {options.database}, 2,000 connections and 100,000 messages", runs)


if __name__ == "__main__":
    main()
