"""Workers of a conversation: each a store and a turn runner, and the audience that they tell."""

from collections.abc import Coroutine
from typing import Any, Protocol
from uuid import UUID, uuid4

from conversations.catalogue import Catalogue
from conversations.models import Turn as TurnRow
from conversations.responders.base import Responder
from conversations.turns import TurnLimits, TurnRunner
from conversations.types import Accepted, SessionKey, Turn
from tests.conversations.doubles import Audience, WatchedStore, question


class House:
    """A worker: a store, a runner, and the audience that it tells."""

    def __init__(
        self, pipeline: UUID, responders: dict[str, Responder], audience: Audience, limits: TurnLimits
    ) -> None:
        self.pipeline = pipeline
        self.audience = audience
        self.worker = uuid4()
        self.woken = 0  # how often the outbox was
        self.store = WatchedStore()
        self.catalogue = Catalogue(self.store)
        self.runner = TurnRunner(
            store=self.store,
            catalogue=self.catalogue,
            responders=responders,
            publish=audience.publish,
            worker=lambda: self.worker,
            limits=limits,
            wake_outbox=self._wake_outbox,
        )
        audience.runners.append(self.runner)

    async def ask(self, session: SessionKey, text: str = "What is it?", **fields: Any) -> Accepted:
        return await self.runner.ask(question(session, text, **fields))

    async def ask_for_turn(self, session: SessionKey, text: str = "What is it?", **fields: Any) -> Turn:
        """Ask where the answer begins at once."""
        turn = (await self.ask(session, text, **fields)).turn
        assert turn is not None
        return turn

    async def row(self, turn: int) -> TurnRow:
        """Return what is stored of a turn."""
        return await self.store.read(TurnRow.objects.get, pk=turn)

    async def outcome(self, turn: int) -> tuple[str, str]:
        """Return how a turn ended, and the responder that is on record for it."""
        row = await self.row(turn)
        assert row.state == TurnRow.State.ENDED
        return row.outcome, row.responder

    async def take_over(self, dead: UUID) -> None:
        async def judge(workers: set[UUID]) -> set[UUID]:
            assert self.worker not in workers
            return workers & {dead}

        await self.runner.take_over(judge)

    async def close(self) -> None:
        await self.runner.drain(0)
        await self.store.stop()

    def _wake_outbox(self) -> None:
        self.woken += 1


class OpenHouse(Protocol):
    def __call__(
        self,
        *,
        beside: House | None = None,
        failure_text: str = "",
        deadline: float = 30.0,
        interval: float = 0.01,
        pace: float = 0.01,
        only_for: dict[str, tuple[str, str]] | None = None,
        **responders: Responder,
    ) -> Coroutine[Any, Any, House]: ...
