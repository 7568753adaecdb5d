"""Readers of mailboxes: what a lost wake-up, a broken database and a slow peer do to them."""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import pytest

from connections.claims import Claimed
from connections.events import ClientTopic, MailWaiting
from connections.mail import PURGED_AT_ONCE, HandedOver, PurgeClients, PurgeLetters
from connections.mailroom import PASSING, PASSING_BYTES, Line, Mailroom, Reader
from connections.writer import Writer
from tests.connections.conftest import Start
from tests.connections.test_mail import LIMITS
from tests.support.waiting import eventually

P = ParamSpec("P")
R = TypeVar("R")


class Mailbox(Writer):
    """A writer over one mailbox in memory; `broken` reads fail."""

    def __init__(self) -> None:
        self.letters: list[tuple[int, str]] = []
        self.jobs: list[Any] = []
        self.results: list[Any] = []
        self.broken = 0
        self.reads = 0
        self.state: dict[int, Any] = {}

    def submit(self, job: Any) -> "asyncio.Future[Any]":
        self.jobs.append(job)
        future = asyncio.get_running_loop().create_future()
        future.set_result(self.results.pop(0) if self.results else None)
        return future

    async def read(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        self.reads += 1
        if self.broken:
            self.broken -= 1
            raise OSError("away")
        if function.__name__ == "mailboxes":
            return self.state  # type: ignore[return-value]
        return [letter for letter in self.letters if letter[0] > args[1]]  # type: ignore[operator,return-value]


class Peer(Line):
    """A client that reads while `reads` is set."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.marks: list[int] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.was_replaced = False

    async def send(self, text: str) -> None:
        await self.reads.wait()
        self.got.append(text)

    def mark(self, seq: int) -> None:
        self.marks.append(seq)

    def replaced(self) -> None:
        self.was_replaced = True

    async def has(self, count: int) -> None:
        async def there() -> bool:
            return len(self.got) >= count

        await eventually(there, timeout=5, what=f"{count} letters")


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


async def test_a_reader_reads_on_after_what_it_sent_and_over_a_broken_database(mailbox: Mailbox) -> None:
    mailbox.letters = [(number, str(number)) for number in range(1, 51)]
    mailbox.broken = 1
    peer = Peer()
    reader = Reader(mailbox, Claimed(1, 10, None), uuid4(), peer)
    running = asyncio.create_task(reader.run())
    await peer.has(40)
    assert peer.got == [str(number) for number in range(11, 51)]
    assert peer.marks == [30, 50]
    mailbox.letters.append((51, "51"))
    reader.wake()
    await peer.has(41)
    running.cancel()


async def test_only_what_the_client_confirmed_is_noted_and_once(mailbox: Mailbox) -> None:
    reader = Reader(mailbox, Claimed(1, 0, None), uuid4(), Peer())
    reader.confirm(3)
    reader.confirm(7)
    reader.confirm(5)
    assert mailbox.jobs == []
    reader.note()
    reader.note()
    assert mailbox.jobs == [HandedOver(1, 7)]


async def test_a_slow_reader_loses_the_oldest_of_what_nobody_keeps(mailbox: Mailbox) -> None:
    peer = Peer()
    peer.reads.clear()
    reader = Reader(mailbox, Claimed(1, 0, None), uuid4(), peer)
    for number in range(PASSING + 5):
        reader.pass_on(str(number))
    running = asyncio.create_task(reader.run())
    peer.reads.set()
    await peer.has(PASSING)
    assert peer.got == [str(number) for number in range(5, PASSING + 5)]
    running.cancel()


async def test_long_ones_go_sooner_and_the_newest_stays(mailbox: Mailbox) -> None:
    peer = Peer()
    peer.reads.clear()
    reader = Reader(mailbox, Claimed(1, 0, None), uuid4(), peer)
    letters = [letter * (PASSING_BYTES // 2) for letter in "abc"] + ["d" * (2 * PASSING_BYTES)]
    for letter in letters[:3]:
        reader.pass_on(letter)
    running = asyncio.create_task(reader.run())
    peer.reads.set()
    await peer.has(2)
    assert peer.got == letters[1:3]
    reader.pass_on(letters[3])
    await peer.has(3)
    assert peer.got == letters[1:]
    running.cancel()


async def test_a_look_wakes_who_lost_a_wake_up_and_ends_who_lost_his_name(start: Start, mailbox: Mailbox) -> None:
    mailroom = Mailroom(mailbox, await start(), LIMITS, shared=True)
    peers = [Peer(), Peer()]
    ids = [uuid4(), uuid4()]
    readers = [mailroom.open(Claimed(number, 0, None), ids[number], peers[number]) for number in (0, 1)]
    mailbox.state = {0: (ids[0], 5), 1: (uuid4(), 0)}
    running = asyncio.create_task(readers[0].run())

    async def idle() -> bool:
        return mailbox.reads > 0

    await eventually(idle, timeout=5, what="a first look")
    mailbox.letters = [(5, "late")]
    await mailroom.look()
    await peers[0].has(1)
    assert (peers[0].was_replaced, peers[1].was_replaced) == (False, True)
    running.cancel()
    for reader in readers:
        mailroom.close(reader)
    reads = mailbox.reads
    await mailroom.look()
    assert mailbox.reads == reads


async def test_a_purge_goes_on_until_nothing_is_left(start: Start, mailbox: Mailbox) -> None:
    mailbox.results = [PURGED_AT_ONCE, 3, PURGED_AT_ONCE, PURGED_AT_ONCE, 0]
    await Mailroom(mailbox, await start(), LIMITS, shared=False).purge()
    assert mailbox.jobs == [PurgeLetters(LIMITS)] * 2 + [PurgeClients(LIMITS)] * 3


async def test_a_topic_of_a_client_has_a_name_of_its_own() -> None:
    assert ClientTopic("/a/用户").name == "client//a/用户"
    assert MailWaiting().seq is None
