"""Fifty senders in one session: one order without gaps, the same for every subscriber and for history (R5)."""

import asyncio
import re
from collections import defaultdict
from hashlib import sha256

import pytest

from tests.conftest import GatewayFactory
from tests.faults import truth
from tests.faults.conftest import Measured
from tests.faults.measuring import Place, at_length
from tests.faults.places import PLACES, start_at
from tests.faults.visitors import PATIENCE
from tests.support.clients import PipelineClient
from tests.support.rest import history

SENDERS = 50
MESSAGES = at_length(15, 2_000)  # of each sender
AHEAD = 10  # messages that a sender has said and not heard yet: what waits for a slow test stays within its bounds
ROOM = "order"
SAID = re.compile(r'"content":"(\d+ \d+)".*"seq":(\d+)')
STORED = "SELECT seq, text, connection_id FROM conversations_message ORDER BY seq"


class Sender:
    """Talks in the room, and hears everybody."""

    def __init__(self, client: PipelineClient, name: int) -> None:
        self.client = client
        self.name = name
        self.inversions = 0
        self.heard = 0  # the `seq` of what it was told last
        self.digest = sha256()
        self._mine = f'"{client.connected["connection_id"]}"'
        self._room = asyncio.Semaphore(AHEAD)

    async def say(self) -> None:
        """Say all that this sender has to say."""
        for number in range(MESSAGES):
            async with asyncio.timeout(PATIENCE):
                await self._room.acquire()
            await self.client.say(f"{self.name} {number}")

    async def hear(self) -> None:
        """Hear all that is said."""
        while self.heard < SENDERS * MESSAGES:
            text = await self.client.recv_text(PATIENCE)
            found = SAID.search(text)
            assert found is not None, text
            seq = int(found[2])
            self.inversions += seq != self.heard + 1
            self.heard = seq
            self.digest.update(found[1].encode())
            if self._mine in text:
                self._room.release()


@pytest.mark.promise("R5")
@pytest.mark.timeout(at_length(120, 3600))
@pytest.mark.parametrize("place", PLACES)
async def test_fifty_senders_are_heard_in_one_order(
    start_gateway: GatewayFactory, measured: Measured, place: Place
) -> None:
    gateway = start_at(start_gateway, place)
    clients = [await PipelineClient.connect(gateway, "group", session_id=ROOM) for _ in range(SENDERS)]
    workers = truth.count(gateway, "SELECT count(DISTINCT worker) FROM connections_connection")
    senders = [Sender(client, name) for name, client in enumerate(clients)]
    await asyncio.gather(*(work for sender in senders for work in (sender.say(), sender.hear())))
    await asyncio.gather(*(client.close() for client in clients))

    assert [sender.inversions for sender in senders] == [0] * SENDERS
    assert len({sender.digest.digest() for sender in senders}) == 1, "the same words to everybody"
    stored = truth.ask(gateway, STORED)
    assert [seq for seq, _, _ in stored] == list(range(1, SENDERS * MESSAGES + 1))
    said = defaultdict(list)
    for _, text, _ in stored:
        name, number = text.split()
        said[int(name)].append(int(number))
    assert said == {name: list(range(MESSAGES)) for name in range(SENDERS)}, "each in the order that he said it"
    newest = await asyncio.to_thread(history, gateway, "group", f"?session_id={ROOM}&limit=500")
    assert [(row["seq"], row["content"], row["connection_id"]) for row in newest] == stored[-500:]
    where = "one worker" if workers == 1 else f"{workers} workers"
    figure = f"0 inversions, 0 gaps in {len(stored):,} messages of {SENDERS} senders, heard by all of them, on {where}"
    measured("R5", on=place, figure=figure)
