"""R21: all of it is visible, whichever worker is asked, and whichever dies."""

import os
import re
import signal
from functools import partial

import pytest

from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.promises import PROMISES
from tests.support.clients import PipelineClient
from tests.support.environment import ROOT
from tests.support.metrics import Samples, scrape
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

DEATHS = at_length(1, 10)
SCRAPES = at_length(12, 40)  # between two deaths, over both workers
ROW = re.compile(r"^\| (R\d+|S\d+) \|[^|]*\| (?P<metrics>[^|]+) \|", re.MULTILINE)
METRIC = re.compile(r"`(chatgateway_\w+)(?:\{([^}`]+)\})?`")


def _growing(samples: Samples) -> Samples:
    return {name: value for name, value in samples.items() if re.search(r"_total|_count|_sum", name)}


def _assert_nothing_fell(before: Samples, now: Samples) -> None:
    fallen = {name: (was, now.get(name)) for name, was in _growing(before).items() if now.get(name, 0) < was}
    assert not fallen


def _tells(gateway: GatewayProcess, said: int) -> bool:
    """Tell whether every worker knows what was said: the others' files are a second old at most."""
    samples = [scrape(gateway) for _ in range(6)]
    return all(
        one["chatgateway_messages_total{user}"] == one["chatgateway_answer_seconds_count"] == said
        and one["chatgateway_workers_live"] == 2
        for one in samples
    )


def _named_in_the_table() -> dict[str, set[str]]:
    """Return the metrics of each promise, as the table of docs/operations.md names them."""
    rows: dict[str, set[str]] = {}
    for row in ROW.finditer((ROOT / "docs" / "operations.md").read_text()):
        named = METRIC.findall(row["metrics"])
        rows[row[1]] = {name + (f"{{{reason}}}" if reason else "") for name, reason in named}
    return rows


@pytest.mark.promise("R21")
def test_every_promise_has_its_metric_and_each_is_told_from_the_start(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    rows = _named_in_the_table()
    assert [name for name in rows if name.startswith("R")] == list(PROMISES)
    samples = scrape(start_gateway())
    told = set(samples) | {re.sub(r"\{.*", "", name) for name in samples}
    told |= {re.sub(r"_(count|sum)$", "", name) for name in told}  # of a histogram
    assert {name: named - told for name, named in rows.items() if not named or named - told} == {}
    measured("R21", on="any database", figure=f"{len(rows)} rows, {len(set().union(*rows.values()))} metrics, all told")


@pytest.mark.promise("R21")
async def test_the_counters_of_all_workers_add_up_whoever_is_asked_and_outlive_them(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    said = 0
    before: Samples = {}
    for death in range(DEATHS + 1):
        for _ in range(8):  # over both workers
            async with await PipelineClient.connect(gateway) as client:
                await client.ask("What does the gateway do?")
                said += 1
        wait_until(partial(_tells, gateway, said), timeout=20, what=f"{said} messages, whoever is asked")
        if death < DEATHS:
            os.kill(gateway.worker_pids()[death % 2], signal.SIGKILL)
        for _ in range(SCRAPES):
            now = scrape(gateway)
            _assert_nothing_fell(before, now)
            before = now
    assert before["chatgateway_workers_total{started}"] == 2 + DEATHS
    measured(
        "R21",
        on="PostgreSQL + Valkey",
        figure=f"0 counters fell in {(DEATHS + 1) * SCRAPES} scrapes of 2 workers over {DEATHS} `kill -9`",
    )
