"""Clients that want more than they may, in a process of their own: what they cost is not the tester's time.

usage: python -m tests.faults.flood URL knock|ping|ask CLIENTS

The first line that it writes says that it was refused; it goes on until its input ends, then writes a JSON object with
how often it was refused, by status or close code, and how long it was told to wait.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import InvalidStatus, WebSocketException

from tests.support.clients import PipelineClient
from tests.support.environment import ROOT

# Where the proxy that it plays has it from: what one kind did is not counted against another.
ADDRESSES = {"knock": "192.0.2.66", "ping": "192.0.2.67", "ask": "192.0.2.68"}
PINGS, QUESTIONS = 700, 100  # that it sends before it listens to what is said of them
PATIENCE = 10.0


class Flood:
    """What came of it so far."""

    def __init__(self, url: str, address: str) -> None:
        self.url = url
        self.address = address
        self.refused: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    async def connect(self) -> PipelineClient | None:
        """Connect, or note why not."""
        try:
            return await PipelineClient.connect(self.url, headers={"X-Forwarded-For": self.address})
        except InvalidStatus as error:
            self.note(str(error.response.status_code), error.response.headers["Retry-After"])
        except (OSError, WebSocketException, TimeoutError):
            self.note("no answer", "")
        return None

    async def knock(self) -> None:
        """Connect and leave, as fast as that goes."""
        if client := await self.connect():
            await client.close()

    async def ping(self) -> None:
        """Connect, and send more than is taken."""
        await self._send('{"type": "ping"}', PINGS)

    async def ask(self) -> None:
        """Connect, and ask more than one may at once."""
        await self._send('{"type": "message", "message": [{"type": "Plain", "text": "And this?"}]}', QUESTIONS)

    async def _send(self, frame: str, times: int) -> None:
        client = await self.connect()
        if client is None:
            return
        try:
            for _ in range(times):
                await client.send(frame)
            while True:
                heard = await client.recv(PATIENCE)
                if heard["type"] == "error":
                    self.waits[str(heard["retry_after"])] += 1
        except WebSocketException:
            self.note(str(client.socket.close_code), "")
        except TimeoutError:
            await client.close()

    def note(self, why: str, wait: str) -> None:
        """Note that it was refused; the first time, say so."""
        if not self.refused:
            sys.stdout.write("refused\n")
            sys.stdout.flush()
        self.refused[why] += 1
        if wait:
            self.waits[wait] += 1


async def flood(url: str, what: str, clients: int) -> None:
    """Flood until the input ends."""
    made = Flood(url, ADDRESSES[what])
    work = getattr(made, what)

    async def again_and_again() -> None:
        while True:
            await work()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(again_and_again()) for _ in range(clients)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    sys.stdout.write(json.dumps({"refused": made.refused, "waits": made.waits}))


@contextmanager
def flooding(url: str, what: str, clients: int) -> Iterator[dict[str, Any]]:
    """Flood from the first refusal on until the block ends; then the value is filled with what came of it."""
    found: dict[str, Any] = {}
    # Elsewhere they would not take the server's time.
    command = ["nice", sys.executable, "-m", "tests.faults.flood", url, what, str(clients)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "refused\n"
            yield found
            found |= json.loads(process.communicate("")[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


if __name__ == "__main__":
    asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3])))
