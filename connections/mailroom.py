"""The mailroom: names are claimed here, letters handed in, and every mailbox has a reader while its client is here.

    deliver ─► store (COMMIT) ─► MailWaiting on the recipient's topic ─► its reader, in whichever process it is
    reader: what the mailbox has after the last one sent ─► send ─► the peer has read it ─► HandedOver

So order, restarts, other workers and lost wake-ups are all one case: a reader looks where it stands and reads on.
Letters that were on their way when a connection broke come again with the next one; none is lost.

Bounds: a page is PAGE letters or PAGE_BYTES; PASSING letters that nobody keeps, or PASSING_BYTES, wait for a slow
reader: every turn that runs may have a question for one service.
"""

import asyncio
from collections import deque
from typing import Any, Protocol
from uuid import UUID

import structlog

from connections import selectors
from connections.claims import ClaimClient, Claimed, Denied, HeldBy, ReleaseClient
from connections.events import ClientTopic, MailWaiting, Passing, Replaced
from connections.hub import Hub
from connections.mail import (
    PURGED_AT_ONCE,
    Deliver,
    HandedOver,
    MailLimits,
    Outcome,
    PurgeClients,
    PurgeLetters,
)
from connections.writer import Writer

log = structlog.get_logger(__name__)

PAGE = 200
PAGE_BYTES = 1024 * 1024
MARKED = 20  # letters after which the peer is asked whether it has them
NOTE_EVERY = 0.5  # seconds between two notes of what was handed over
PASSING = 4000
PASSING_BYTES = 1024 * 1024
RETRY = 0.5  # seconds until a mailbox that could not be read is tried again
RETRY_RELEASE = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds between attempts to give a name back
LOOKED_AT = 500  # clients of one query


class Line(Protocol):
    """The way to a client."""

    async def send(self, text: str) -> None:
        """Send a letter, as fast as the peer reads."""
        ...

    def mark(self, seq: int) -> None:
        """Have `Reader.confirm(seq)` called once the peer has read everything sent so far."""
        ...

    def replaced(self) -> None:
        """Hear that another connection holds the name."""
        ...


class Reader:
    """Reads one client's mailbox to its connection, in order."""

    def __init__(self, writer: Writer, claim: Claimed, connection: UUID, line: Line) -> None:
        self.client = claim.client
        self.connection = connection
        self.line = line
        self.sent = claim.delivered_seq
        self._writer = writer
        self._confirmed = self._noted = claim.delivered_seq
        self._passing: deque[str] = deque()
        self._passing_bytes = 0
        self._woken = asyncio.Event()
        self._noting: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Look into the mailbox: there may be something new."""
        self._woken.set()

    def pass_on(self, text: str) -> None:
        """Send a letter that nobody keeps; of too many the oldest go."""
        self._passing.append(text)
        self._passing_bytes += len(text)
        while len(self._passing) > PASSING or (self._passing_bytes > PASSING_BYTES and len(self._passing) > 1):
            self._next_passing()
        self._woken.set()

    def confirm(self, seq: int) -> None:
        """Hear that the client has everything up to `seq`; noted soon."""
        self._confirmed = max(self._confirmed, seq)
        if self._noting is None:
            self._noting = asyncio.get_running_loop().call_later(NOTE_EVERY, self.note)

    def note(self) -> None:
        """Have the letters forgotten that the client has."""
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        if self._confirmed > self._noted:
            self._noted = self._confirmed
            self._submit(HandedOver(self.client, self._noted))

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._woken.clear()
            while self._passing:
                await self.line.send(self._next_passing())
            try:
                page = await self._writer.read(selectors.letters_after, self.client, self.sent, PAGE, PAGE_BYTES)
            except Exception as error:  # noqa: BLE001  the database is away: it is tried again
                log.warning("mailbox.not_read", error=type(error).__name__, reason=str(error))
                await asyncio.sleep(RETRY)
                continue
            for number, (seq, text) in enumerate(page, 1):
                await self.line.send(text)
                self.sent = seq
                if number % MARKED == 0 or number == len(page):
                    self.line.mark(seq)
            if not page:
                await self._woken.wait()

    def _next_passing(self) -> str:
        text = self._passing.popleft()
        self._passing_bytes -= len(text)
        return text

    def _submit(self, job: Any) -> None:
        try:
            self._writer.submit(job).add_done_callback(_look_at)
        except Exception as error:  # noqa: BLE001  full or stopping: those letters come twice
            log.warning("mailbox.not_noted", error=type(error).__name__)


def _look_at(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled() and (error := done.exception()):
        log.warning("mailbox.not_noted", error=type(error).__name__)


class Mailroom:
    """The hub's letters in one process; `shared` tells that there are others."""

    def __init__(self, writer: Writer, hub: Hub, limits: MailLimits, *, shared: bool) -> None:
        self.limits = limits
        self._writer = writer
        self._hub = hub
        self._shared = shared
        self._readers: dict[UUID, Reader] = {}
        self._to_wake: set[str] = set()
        self._releasing: set[asyncio.Task[None]] = set()

    async def claim(self, claim: ClaimClient) -> Claimed | HeldBy | Denied:
        """Take a name; the connection that had it is told."""
        result: Claimed | HeldBy | Denied = await self._writer.submit(claim)
        if isinstance(result, Claimed) and result.replaced is not None:
            self._hub.publish(ClientTopic(claim.client_id), Replaced(result.replaced))
        return result

    def release(self, client_id: str, connection: UUID) -> None:
        """Give a name back, and try it until it is stored: who is away must not look connected."""
        task = asyncio.get_running_loop().create_task(self._release(ReleaseClient(client_id, connection)))
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    def open(self, claim: Claimed, connection: UUID, line: Line) -> Reader:
        """Return a reader of the claimed mailbox."""
        reader = self._readers[connection] = Reader(self._writer, claim, connection, line)
        return reader

    def close(self, reader: Reader) -> None:
        """End a reader: what the client has is noted."""
        self._readers.pop(reader.connection, None)
        reader.note()

    def deliver(self, letter: Deliver) -> "asyncio.Future[tuple[Outcome, ...]]":
        """Queue a letter at once, in call order; the future ends with its outcomes, once it is stored.

        Raises what the writer raises at once, as where it is full.
        """
        stored = self._writer.submit(letter)
        stored.add_done_callback(lambda done: self._stored(letter, done))
        return stored

    async def look(self) -> None:
        """Wake the readers whose wake-up the layer lost, and end those whose name another has taken."""
        if not self._shared:
            return
        readers = {reader.client: reader for reader in self._readers.values()}
        ids = list(readers)
        for start in range(0, len(ids), LOOKED_AT):
            states = await self._writer.read(selectors.mailboxes, ids[start : start + LOOKED_AT])
            for client, (connection, last_seq) in states.items():
                reader = readers[client]
                if connection != reader.connection:
                    reader.line.replaced()
                elif last_seq > reader.sent:
                    reader.wake()

    async def purge(self) -> None:
        """Throw away what nobody has fetched in time, and forget clients that stayed away."""
        for job in (PurgeLetters(self.limits), PurgeClients(self.limits)):
            purged = PURGED_AT_ONCE
            while purged == PURGED_AT_ONCE:
                purged = await self._writer.submit(job)

    def _stored(self, letter: Deliver, done: "asyncio.Future[tuple[Outcome, ...]]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        for client_id, outcome in zip(letter.recipients, done.result(), strict=True):
            if outcome is not Outcome.DELIVERED:
                continue
            if not letter.keep:
                self._hub.publish(ClientTopic(client_id), Passing(letter.text))
                continue
            if not self._to_wake:
                # Many letters are stored together: a reader is woken once for all of them.
                asyncio.get_running_loop().call_soon(self._wake)
            self._to_wake.add(client_id)

    def _wake(self) -> None:
        to_wake, self._to_wake = self._to_wake, set()
        for client_id in to_wake:
            self._hub.publish(ClientTopic(client_id), MailWaiting())

    async def _release(self, job: ReleaseClient) -> None:
        for pause in RETRY_RELEASE:
            try:
                await self._writer.submit(job)
            except Exception as error:  # noqa: BLE001  tried again; with the worker's lease the claim ends anyway
                log.warning("mailroom.not_released", error=type(error).__name__, again_in=pause)
                await asyncio.sleep(pause)
            else:
                return
