"""The pipeline wire against a stub model: a server alone on one core, the load and the model on another.

usage: python -m tests.benchmarks.wire [--only pings,turns,broadcasts] [--seconds S] [--url URL --pid PID]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks.load import Load
from tests.benchmarks.measuring import report
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess, get_status, manage
from tests.support.waiting import free_port, is_listening, wait_until

SERVER_CORE, LOAD_CORE = "1", 0


def start_model(stack: contextlib.ExitStack) -> str:
    """Start the stub model until `stack` unwinds and return the base URL it answers at."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.stub_model", str(port)], cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.kill)
    url = f"http://127.0.0.1:{port}/v1"
    wait_until(lambda: get_status(f"{url}/models") == 200, timeout=20, what="the stub model")
    return url


def start_gateway(stack: contextlib.ExitStack) -> GatewayProcess:
    """Start a gateway with the stub model on a core of its own until `stack` unwinds."""
    # Not in /tmp, which may lie in memory: acknowledgements wait for a disk.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir=ROOT)))
    settings = {
        "OPENAI_BASE_URL": start_model(stack),
        "OPENAI_MODEL": "stub",
        "OPENAI_API_KEY": "none",
        "RATE_LIMITS": "off",
    }
    url = f"sqlite:///{folder / 'gateway.sqlite3'}"
    manage("migrate", "--verbosity", "0", data_dir=folder, DATABASE_URL=url, **settings)
    manage("bootstrap", data_dir=folder, DATABASE_URL=url, **settings)
    gateway = GatewayProcess(folder, url, environment=settings, prefix=("taskset", "-c", SERVER_CORE))
    stack.callback(gateway.close)
    gateway.start()
    return gateway


def start_floor(stack: contextlib.ExitStack) -> Load:
    """Start the bare server on the gateway's core until `stack` unwinds."""
    port = free_port()
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "tests.benchmarks.floor", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    stack.callback(process.wait)
    stack.callback(process.kill)
    wait_until(lambda: is_listening(port), timeout=20, what="the bare server")
    return Load(f"http://127.0.0.1:{port}", [process.pid])


async def run_floor(load: Load, only: set[str], seconds: float) -> list[dict[str, Any]]:
    """Measure the bare server where the gateway is measured at the same."""
    results = []
    if "pings" in only:
        results.append(await load.pings(50, seconds))
    if "broadcasts" in only:
        results.append(await load.fanout(500, 100))
    return [{**result, "what": f"the floor, a bare server: {result['what']}"} for result in results]


async def run(load: Load, only: set[str], seconds: float) -> list[dict[str, Any]]:
    """Run what `only` names, one after another."""
    runs: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "pings": lambda: load.pings(50, seconds),
        "turns": lambda: load.turns(20, seconds),
        "broadcasts": lambda: load.broadcasts(500, 100),
    }
    results = []
    for name in (name for name in runs if name in only):
        used, began = time.process_time(), time.perf_counter()
        result = await runs[name]()
        # Near 1, the load itself was what limited.
        share = (time.process_time() - used) / (time.perf_counter() - began)
        results.append({**result, "load_generator_cpu_share": round(share, 2)})
    return results


def main() -> None:
    """Start what is measured, unless it is given, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="pings,turns,broadcasts")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--url", default="", help="measure a gateway that runs already, and its --pid")
    parser.add_argument("--pid", type=int, default=0)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with contextlib.ExitStack() as stack:
        if options.url:
            load = Load(options.url, [options.pid])
        else:
            gateway = start_gateway(stack)
            load = Load(gateway.url, gateway.worker_pids())
        only = set(options.only.split(","))
        floor = start_floor(stack)
        runs = uvloop.run(run_floor(floor, only, options.seconds))
        runs += uvloop.run(run(load, only, options.seconds))
    report("pipeline wire on uvicorn, SQLite, stub model", runs)


if __name__ == "__main__":
    main()
