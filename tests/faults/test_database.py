"""The database stops, hangs, is locked, full or read-only: nothing false is acknowledged, and all goes on after it.

Where it is reached over a network it is so here: PostgreSQL lies behind a proxy.
"""

import asyncio
import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from chatgateway.probe import GOOD_FOR
from tests.faults.conftest import Measured
from tests.faults.measuring import at_length
from tests.faults.outages import (
    CONNECTIONS,
    PostgresSite,
    Site,
    crashed,
    crowded,
    full,
    held,
    locked,
    read_only,
    refused,
    stalled,
    stopped,
    vanished,
)
from tests.faults.proxy import FaultyProxy
from tests.faults.wires import Talker, Told, ask_all, says_unknown, talkers
from tests.support.clients import PipelineClient, is_final
from tests.support.databases import PostgresServer
from tests.support.server import GatewayProcess, Templates, get_status
from tests.support.waiting import eventually, wait_until

# Short versions do not wait for the whole of it.
LOCK_TIMEOUT = at_length(1.0, 4.0)
AWAY = at_length((0.0,), (0.0, 3.0, 9.0, 30.0))  # seconds of the outages, one after another; the shortest are two tries
PACE = at_length(0.1, 0.5)  # seconds between two questions of an outage: a database that hangs has them refused at once
ROOM = 30.0  # seconds that a test waits for what is promised in PROMISED
PROMISED = 5.0
SETTINGS = {"LOCK_TIMEOUT": str(LOCK_TIMEOUT), "RATE_LIMITS": "off"}
STORED = "SELECT text, count(*) FROM conversations_message WHERE role = 'user' GROUP BY text"
ANSWERED = """
    SELECT question.text, count(*) FROM conversations_message AS answer
    JOIN conversations_message AS question ON question.id = answer.question_id GROUP BY question.text
"""
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'conversations_message'::regclass"


# --- The sites -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresSite]:
    """A gateway whose PostgreSQL may be broken: it is its own, and lies behind a proxy."""
    with ExitStack() as stack:
        server = PostgresServer(connections=CONNECTIONS)
        stack.callback(server.close)
        server.start()
        # The prepared database is another server's: this one is prepared anew.
        url = Templates(tmp_path_factory.mktemp("templates")).copy_postgres(server)
        proxy = stack.enter_context(FaultyProxy(server.socket))
        name = server.address(url)["dbname"]
        gateway = GatewayProcess(
            tmp_path_factory.mktemp("gateway"),
            f"postgres://postgres@127.0.0.1:{proxy.port}/{name}",
            environment=SETTINGS,
        )
        stack.callback(gateway.close)
        gateway.start()
        yield PostgresSite(gateway, lambda: dict(server.query(url, STORED)), "PostgreSQL", server, proxy, url)


@pytest.fixture(scope="module")
def on_sqlite(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway on SQLite, on a small disk of its own where this user may make one."""
    folder = tmp_path_factory.mktemp("disk")
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    ).returncode
    with ExitStack() as stack:
        if mounted:
            stack.callback(lambda: subprocess.run(["umount", "--lazy", folder], check=False))
        url = templates.copy_sqlite(folder)
        gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"), url, environment=SETTINGS)

        def stored() -> dict[str, int]:
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                return dict(connection.execute(STORED))

        stack.callback(gateway.close)
        gateway.start()
        yield Site(gateway, stored, "SQLite")


# --- The tests -------------------------------------------------------------------------------------

PostgresFault = Callable[[PostgresSite], AbstractContextManager[None]]
AnyFault = Callable[[Site], AbstractContextManager[None]]


@pytest.mark.promise("R11")
@pytest.mark.timeout(60 + 90 * len(AWAY))
@pytest.mark.parametrize("fault", [stopped, crashed, refused, stalled, vanished, locked, crowded, read_only])
async def test_postgresql_is_broken_and_mended(
    on_postgres: PostgresSite, measured: Measured, fault: PostgresFault
) -> None:
    await _break_and_mend(on_postgres, fault.__name__, lambda: fault(on_postgres), measured)


@pytest.mark.promise("R11")
@pytest.mark.timeout(60 + 90 * len(AWAY))
@pytest.mark.parametrize("fault", [held, full])
async def test_sqlite_is_broken_and_mended(on_sqlite: Site, measured: Measured, fault: AnyFault) -> None:
    folder = Path(on_sqlite.gateway.database_url.removeprefix("sqlite:///")).parent
    if fault is full and not folder.is_mount():
        pytest.skip("a small disk can be made by root only")
    await _break_and_mend(on_sqlite, fault.__name__, lambda: fault(on_sqlite), measured)


@pytest.mark.promise("R11")
@pytest.mark.parametrize("fault", ["stall", "cut"])
async def test_what_was_in_a_transaction_as_it_broke_may_be_sent_again(on_postgres: PostgresSite, fault: str) -> None:
    server, proxy, text = on_postgres.server, on_postgres.proxy, f"What can you do? {uuid4().hex}"
    client = await PipelineClient.connect(on_postgres.gateway)
    with psycopg.connect(**server.address(on_postgres.url)) as other:
        other.execute("LOCK TABLE conversations_message IN EXCLUSIVE MODE")
        await client.say(text, client_msg_id=text[-32:])
        await asyncio.to_thread(
            wait_until, lambda: bool(server.query(on_postgres.url, WAITING)), timeout=ROOM, what="its insertion"
        )
        getattr(proxy, fault)()
        other.rollback()
    async with client:
        told = (await client.until(lambda frame: frame["type"] in {"user_message", "error"}, ROOM))[-1]
        proxy.flow()
        url = f"{on_postgres.gateway.url}/readyz"
        await asyncio.to_thread(wait_until, lambda: get_status(url) == 200, timeout=ROOM, what="GET /readyz 200")
        stored = on_postgres.stored().get(text, 0)
        assert stored == 1 or told["type"] == "error", "acknowledged and lost"
        assert stored == 0 or told["type"] != "error" or says_unknown(told["message"]), "refused and stored"
        await client.say(text, client_msg_id=text[-32:])
        await asyncio.to_thread(
            wait_until,
            lambda: dict(server.query(on_postgres.url, ANSWERED)).get(text) == 1,
            timeout=ROOM,
            what="an answer",
        )
    assert on_postgres.stored()[text] == 1


async def _break_and_mend(
    site: Site, name: str, fault: Callable[[], AbstractContextManager[None]], measured: Measured
) -> None:
    """Break the database so often; what each wire is told, when, and what is stored must be right each time."""
    errors, recoveries = [], []
    async with talkers(site.gateway) as everybody:
        assert all(told.answered for told in await ask_all(everybody))
        for seconds in AWAY:
            with fault():
                errors += await _while_broken(site, everybody, seconds)
            recoveries.append(await _recovery(everybody))
        async with asyncio.timeout(ROOM):
            await _send_again(site, everybody[0])
        _check(site, everybody)
    slowest = max(told.seconds for told in errors)
    after = ", ".join(f"{seconds:.1f}" for seconds in recoveries)
    figure = f"{name}: {len(errors)} errors ≤ {slowest:.1f} s; recovery in {after} s, LOCK_TIMEOUT={LOCK_TIMEOUT:g}"
    measured("R11", on=site.on, figure=figure, holds=slowest <= PROMISED and max(recoveries) <= PROMISED)


async def _while_broken(site: Site, everybody: list[Talker], seconds: float) -> list[Told]:
    """Return what everybody is told for so long: of what met it first, and of what came later; errors only."""
    told: list[Told] = []
    began = time.monotonic()
    end = began + seconds
    while len(told) < 2 * len(everybody) or time.monotonic() < end:
        known_from_before = time.monotonic() - began < GOOD_FOR
        asked, ready, alive = await asyncio.gather(
            ask_all(everybody),
            asyncio.to_thread(get_status, f"{site.gateway.url}/readyz"),
            asyncio.to_thread(get_status, f"{site.gateway.url}/healthz"),
        )
        told += asked
        assert ready == 503 or known_from_before
        assert alive == 200
        await asyncio.sleep(PACE)
    assert not [one for one in told if one.answered], "nothing can have been stored"
    return told


async def _recovery(everybody: list[Talker]) -> float:
    """Return how many seconds it takes until everybody is answered again."""
    began = time.monotonic()

    async def all_answered() -> bool:
        return all(told.answered for told in await ask_all(everybody))

    await eventually(all_answered, timeout=ROOM, what="an answer on every wire")
    return time.monotonic() - began


async def _send_again(site: Site, talker: Talker) -> None:
    """Send what nobody knew about again, under the same id, and see it answered."""
    async with await PipelineClient.connect(site.gateway, **talker.session) as client:
        for text in talker.doubtful:
            await client.say(text, client_msg_id=text[-32:])
            await client.until(is_final)


def _check(site: Site, everybody: list[Talker]) -> None:
    """Compare what was told with what is stored; letters are not: they are gone once they were read."""
    stored = site.stored()
    for talker in everybody:
        if talker.wire == "hub":
            continue
        acknowledged, refused = set(talker.acknowledged), set(talker.refused)
        assert not acknowledged - stored.keys(), f"{talker.wire}: acknowledged and lost"
        assert not refused & stored.keys(), f"{talker.wire}: refused and stored"
    twice = {text for text, times in stored.items() if times > 1}
    assert not twice, "stored twice"
