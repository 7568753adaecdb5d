"""The way to one client: letters as fast as it reads, and how far it has read."""

import asyncio
from collections import deque
from collections.abc import Callable

from integrations.outbound import DirectTransport, Frame, Outbound

ANSWER_PATIENCE = 1.0  # seconds in which a peer that lives answers a ping
GONE_PATIENCE = 0.5  # seconds that a server without pings of ours has to notice that its peer is gone


class ClientLine:
    """Sends letters to a client; `confirmed` hears what was read, `gone` that another has its name.

    Where the server lets us ping, a letter counts as read with the pong after it: what only lay in a buffer when a
    connection broke comes again. Elsewhere it counts once the server took it.
    """

    def __init__(self, outbound: Outbound, direct: DirectTransport | None, gone: Callable[[], None]) -> None:
        self.confirmed: Callable[[int], None] = _nobody
        self._outbound = outbound
        self._direct = direct
        self._gone = gone
        self._marks: deque[tuple[int, int]] = deque()  # ping and the place it stands for; few fit into the buffers
        self._answered = 0
        self._heard = asyncio.Event()
        if direct is not None:
            direct.on_pong = self._pong

    async def send(self, text: str) -> None:
        """Send a letter and wait until nothing waits here."""
        self._outbound.push(Frame(text.encode()))
        await self._outbound.drained()

    def mark(self, seq: int) -> None:
        """Have `confirmed` told of `seq` once the client has read up to here."""
        if self._direct is None:
            self.confirmed(seq)
        else:
            self._marks.append((self._direct.ping(), seq))

    def replaced(self) -> None:
        """Hear that another connection holds the name."""
        self._gone()

    async def answers(self) -> bool:
        """Tell whether the peer is there still."""
        if self._direct is None:
            await asyncio.sleep(GONE_PATIENCE)
            return True
        ping = self._direct.ping()
        try:
            async with asyncio.timeout(ANSWER_PATIENCE):
                while self._answered < ping:
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Drop the connection."""
        if self._direct is not None:
            self._direct.abort()

    def _pong(self, ping: int) -> None:
        self._answered = max(self._answered, ping)
        self._heard.set()
        while self._marks and self._marks[0][0] <= ping:
            self.confirmed(self._marks.popleft()[1])


def _nobody(_seq: int) -> None:
    """Hear nothing: nobody reads the mailbox yet."""
