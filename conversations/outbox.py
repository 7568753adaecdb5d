"""The outbox: what has to reach somebody outside, kept in the database until it has.

An entry is stored in the transaction that made it necessary. Whoever claims it delivers it, tries again later where
that failed, and gives up after the last of RETRIES. A delivery may happen twice when a process dies in between; its
number stays the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from uuid import UUID

import structlog

from conversations.jobs.outbox import ClaimOutbox, Letter, SettleOutbox
from conversations.store import Store, StoreError

log = structlog.get_logger(__name__)

POLL = 2.0  # seconds between two looks for what is due
PATIENCE = 30.0  # seconds that one delivery may take
AT_ONCE = 20  # deliveries of one process at the same time
RETRIES = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, 12 * 3600.0)  # seconds before each further attempt


class Undeliverable(Exception):  # noqa: N818  names a state
    """It cannot be delivered, however often it is tried; the text says why and holds nothing that was said."""


class Unwanted(Exception):  # noqa: N818  names a state
    """Nobody wants to be told: the entry is settled without an error."""


Deliver = Callable[[Letter], Awaitable[None]]


class Outbox:
    """Delivers what is due in this process; `deliverers` by an entry's kind."""

    def __init__(self, store: Store, deliverers: Mapping[str, Deliver], worker: Callable[[], UUID]) -> None:
        self._store = store
        self._deliverers = deliverers
        self._worker = worker
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look for what is due now: something was just stored."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            try:
                letters: Sequence[Letter] = await self._store.write(
                    ClaimOutbox(self._worker(), tuple(self._deliverers))
                )
                await self._deliver_all(letters)
            except StoreError as error:  # the next round tries again
                log.warning("outbox.round_failed", reason=str(error))
                letters = ()
            if not letters:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._woken.wait()

    async def _deliver_all(self, letters: Sequence[Letter]) -> None:
        """Deliver sessions side by side, each one's letters in their order."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def deliver(of_one_session: list[Letter]) -> None:
            async with gate:
                for letter in of_one_session:
                    await self._deliver(letter)

        by_session = sorted(letters, key=lambda letter: (letter.session.uuid, letter.id))
        groups = [list(group) for _, group in groupby(by_session, key=lambda letter: letter.session.uuid)]
        await asyncio.gather(*(deliver(group) for group in groups))

    async def _deliver(self, letter: Letter) -> None:
        again: float | None = None
        reason = ""
        told = True
        try:
            async with asyncio.timeout(PATIENCE):
                await self._deliverers[letter.kind](letter)
        except Unwanted:
            told = False
        except Undeliverable as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  networks fail in many ways; it is tried again
            reason = str(error) or type(error).__name__
            again = RETRIES[letter.attempts] if letter.attempts < len(RETRIES) else None
        if reason:
            log.warning("outbox.not_delivered", kind=letter.kind, entry=letter.id, reason=reason, again_in=again)
        await self._store.write(
            SettleOutbox(letter.id, letter.message.id, sent=not reason, again=again, reason=reason, told=told)
        )
