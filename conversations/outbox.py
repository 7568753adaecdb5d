"""The outbox: what has to reach somebody outside, kept in the database until it has.

An entry is stored in the transaction that made it necessary. Whoever claims it delivers it, tries again later where
that failed, and gives up after the last of RETRIES. A delivery may happen twice when a process dies, or the database
is away for longer, in between; its number stays the same.

It is claimed when there is room to begin at once, so its claim outlasts it. Each kind has room of its own, and each
owner a share of it: an answer that stays in the house waits for no receiver outside, and nobody for somebody else's.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from conversations import selectors
from conversations.jobs.outbox import (
    PURGED_AT_ONCE,
    RETRIES,
    ClaimOutbox,
    FreeClaims,
    Letter,
    Owner,
    PurgeOutbox,
    SettleOutbox,
)
from conversations.store import Store, StoreError

log = structlog.get_logger(__name__)

POLL = 2.0  # seconds between two looks for what is due
PATIENCE = 30.0  # seconds that one delivery may take, and to note how it went
DRAIN_PATIENCE = 2.0  # seconds for the deliveries that are under way at a stop
AT_ONCE = 40  # deliveries of one kind in a process at the same time


class Undeliverable(Exception):  # noqa: N818  names a state
    """It cannot be delivered, however often it is tried; the text says why and holds nothing that was said."""


class Unwanted(Exception):  # noqa: N818  names a state
    """Nobody wants to be told: the entry is settled, and keeps the text, which says why."""


Deliver = Callable[[Letter], Awaitable[None]]


class Outbox:
    """Delivers what is due in this process, sessions side by side; `deliverers` by an entry's kind."""

    def __init__(
        self,
        store: Store,
        deliverers: Mapping[str, Deliver],
        worker: Callable[[], UUID],
        on_attempt: Callable[[str], None] = lambda _: None,
        on_round: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self._on_attempt = on_attempt  # hears "sent", "again" or "failed"
        self._on_round = on_round  # hears how each look for what is due went
        self._store = store
        self._deliverers = deliverers
        self._worker = worker
        self._own: set[UUID] = set()  # the leases under which this process has claimed: what it delivers is under way
        self._under_way: Counter[tuple[str, Owner]] = Counter()
        self._delivering: set[int] = set()
        self._woken = asyncio.Event()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        """Look for what is due now: something was just stored."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled, or drained."""
        self._idle.clear()
        async with asyncio.TaskGroup() as deliveries:
            while not self._closing:
                self._woken.clear()
                for letter in await self._claim():
                    self._under_way[letter.kind, letter.owner] += 1
                    self._delivering.add(letter.id)
                    deliveries.create_task(self._deliver(letter))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._woken.wait()
        self._idle.set()

    async def drain(self, seconds: float = DRAIN_PATIENCE) -> None:
        """Begin nothing more, and give what is under way `seconds`: what is broken off is delivered twice."""
        self._closing = True
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def take_over(self, dead: Callable[[set[UUID]], Awaitable[set[UUID]]]) -> None:
        """Free what workers had claimed that `dead` picks out as dead, and look for it."""
        workers = await self._store.read(selectors.workers_with_claims)
        lost = await dead(workers - self._own) if workers else set()
        if lost:
            freed: int = await self._store.write(FreeClaims(tuple(lost)))
            log.info("outbox.taken_over", entries=freed)
            self.wake()

    async def purge(self) -> None:
        """Forget what was settled long ago."""
        purged = PURGED_AT_ONCE
        while purged == PURGED_AT_ONCE:
            purged = await self._store.write(PurgeOutbox())

    async def _claim(self) -> Sequence[Letter]:
        """Take what there is room for; the next round tries again where the database is away."""
        self._own.add(worker := self._worker())
        room = dict.fromkeys(self._deliverers, AT_ONCE)
        for (kind, _), count in self._under_way.items():
            room[kind] -= count
        claim = ClaimOutbox(worker, room, +self._under_way, tuple(self._own), tuple(self._delivering))
        try:
            letters: Sequence[Letter] = await self._store.write(claim)
        except StoreError as error:
            self._on_round(error)
            return ()
        self._on_round(None)
        return letters

    async def _deliver(self, letter: Letter) -> None:
        """Deliver one entry, and look for what may begin in its place."""
        try:
            await self._settle(await self._attempt(letter))
        finally:
            self._delivering.discard(letter.id)
            self._under_way[letter.kind, letter.owner] -= 1
            self._under_way = +self._under_way  # forgets who has nothing under way
            self.wake()

    async def _attempt(self, letter: Letter) -> SettleOutbox:
        """Try to deliver; return how it went."""
        again: float | None = None
        reason = ""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._deliverers[letter.kind](letter)
        except Unwanted as why:
            self._on_attempt("sent")
            return SettleOutbox(letter.id, letter.message.id, sent=True, reason=str(why), told=False)
        except Undeliverable as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  networks fail in many ways; it is tried again
            reason = str(error) or type(error).__name__
            again = RETRIES[letter.attempts] if letter.attempts < len(RETRIES) else None
        if reason:
            log.warning("outbox.not_delivered", kind=letter.kind, entry=letter.id, reason=reason, again_in=again)
        self._on_attempt("sent" if not reason else "failed" if again is None else "again")
        return SettleOutbox(letter.id, letter.message.id, sent=not reason, again=again, reason=reason)

    async def _settle(self, how: SettleOutbox) -> None:
        """Note how it went, as long as the claim holds; after that, somebody delivers it again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await self._store.write(how)
                    except StoreError as error:
                        log.warning("outbox.not_settled", entry=how.entry, reason=str(error))
                        await asyncio.sleep(POLL)
                    else:
                        return
