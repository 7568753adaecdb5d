"""A copy made while the gateway works, restored elsewhere: what had been acknowledged is there."""

import asyncio
import contextlib
import shutil
import sqlite3
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, is_type
from tests.support.files import fetch, picture, sent
from tests.support.server import GatewayProcess, manage
from tests.support.waiting import eventually

TALKERS = 4
SAID_BEFORE = 5  # of each talker, before the copy begins


async def talk(gateway: GatewayProcess, said: list[int], is_over: asyncio.Event) -> dict[str, Any]:
    """Ask one question after the other; `said` are the places of what was acknowledged. Return how to come back."""
    async with await PipelineClient.connect(gateway) as client:
        while not is_over.is_set():
            frames = await client.ask(f"What does the gateway do? ({len(said)})")
            said += [frame["data"]["seq"] for frame in frames if frame["type"] == "user_message"]
        return {"session_id": client.session_id, "resume_token": client.resume_token}


def test_a_copy_under_load_holds_all_that_was_acknowledged(start_gateway: GatewayFactory, tmp_path: Path) -> None:
    gateway, folder = start_gateway(), tmp_path / "kept" / "today"
    said: list[list[int]] = [[] for _ in range(TALKERS)]
    before: list[int] = []

    async def all_have_talked() -> bool:
        return min(map(len, said)) >= SAID_BEFORE

    async def copy_while_they_talk() -> list[dict[str, Any]]:
        is_over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            talks = [group.create_task(talk(gateway, one, is_over)) for one in said]
            await eventually(all_have_talked, timeout=60, what="answers to everybody")
            before.extend(map(len, said))
            printed = await asyncio.to_thread(
                manage, "backup", str(folder), data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url
            )
            is_over.set()
        assert printed == f"Copied the secret key and the database to {folder}.\n"
        return [talk.result() for talk in talks]

    credentials = asyncio.run(copy_while_they_talk())
    assert sorted(path.name for path in folder.iterdir()) == ["gateway.sqlite3", "secret_key"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())] == [0o700, 0o600, 0o600]
    gateway.kill()

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    restored = GatewayProcess(elsewhere, f"sqlite:///{elsewhere / 'gateway.sqlite3'}")

    async def come_back(number: int, query: dict[str, Any]) -> None:
        async with await PipelineClient.connect(restored, last_seq=0, **query) as client:
            (promised,) = await client.until(is_type("resumed"))
            assert client.session_id == query["session_id"]
            replayed = [(await client.recv())["data"]["seq"] for _ in range(promised["last_seq"])]
            assert replayed == list(range(1, promised["last_seq"] + 1))
            assert set(said[number][: before[number]]) <= set(replayed)

    async def all_come_back() -> None:
        await asyncio.gather(*(come_back(number, query) for number, query in enumerate(credentials)))

    try:
        restored.start()
        asyncio.run(all_come_back())
    finally:
        restored.close()


def test_what_people_sent_is_copied_and_restored(start_gateway: GatewayFactory, tmp_path: Path) -> None:
    gateway, copy = start_gateway(), tmp_path / "copy"
    content = picture("JPEG", (600, 300))
    url = sent(gateway, "images", content)["url"]
    half = gateway.data_dir / "uploads" / "ab" / ".half"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"x")
    printed = manage("backup", str(copy), data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
    assert printed == f"Copied the secret key, the database and 2 files of uploads to {copy}.\n"
    paths = list((copy / "uploads").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}
    assert not [path for path in paths if path.name.startswith(".")]
    gateway.kill()
    restored = GatewayProcess(copy, f"sqlite:///{copy / 'gateway.sqlite3'}")
    try:
        restored.start()
        assert fetch(restored, url)[2] == content
        assert fetch(restored, f"{url}/thumbnail")[0] == 200
    finally:
        restored.close()


def messages(copy: Path) -> int:
    with contextlib.closing(sqlite3.connect(copy / "gateway.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM conversations_message").fetchone()[0])


def test_what_was_said_last_is_copied_also_of_a_stopped_gateway_and_into_a_new_folder_only(
    start_gateway: GatewayFactory, tmp_path: Path
) -> None:
    gateway = start_gateway()
    backup = partial(manage, "backup", data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)

    async def ask() -> None:
        async with await PipelineClient.connect(gateway) as client:
            await client.ask("What does the gateway do?")

    asyncio.run(ask())
    backup(str(tmp_path / "of-a-running-one"))
    gateway.terminate()
    backup(str(tmp_path / "copy"))
    assert [messages(tmp_path / name) for name in ("of-a-running-one", "copy")] == [2, 2]
    with pytest.raises(AssertionError, match=r"copy exists already: name a new folder\."):
        backup(str(tmp_path / "copy"))
    with pytest.raises(AssertionError, match=r"The copy in .* is not whole"):
        backup("/proc/copy")


def test_of_postgresql_the_key_is_copied_and_the_tool_is_named(start_gateway: GatewayFactory, tmp_path: Path) -> None:
    gateway = start_gateway(database="postgres")
    printed = manage("backup", str(tmp_path / "copy"), data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
    assert printed.startswith(f"Copied the secret key to {tmp_path / 'copy'}.\n")
    assert "pg_dump" in printed
