"""A call whose answer is streamed, listed among the live connections while it lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.utils import timezone

from connections.jobs import LOST, ConnectionRow
from connections.registry import Registry
from conversations.types import Question
from integrations.errors import NORMAL, WireError
from integrations.peers import Peer


class LiveCall:
    """A caller who is being told an answer; what is streamed to him is counted."""

    def __init__(
        self, registry: Registry, peer: Peer, question: Question, *, size: int, break_off: Callable[[Exception], None]
    ) -> None:
        row = ConnectionRow(
            uuid=uuid4(),
            worker=registry.worker,
            wire=question.wire,
            pipeline=question.session.pipeline,
            session=question.session.uuid,
            session_type=question.session.session_type,
            application=question.application,
            address=peer.address,
            user_agent=peer.user_agent,
            connected_at=timezone.now(),
            client=question.session.name,
        )
        self.how_it_ended = (LOST, "the caller left")
        self.live = registry.open_soon(row, self._end)
        self.live.received(size)
        self._break_off = break_off

    def tell(self, event: bytes) -> bytes:
        """Count an event on its way out."""
        self.live.sent(len(event))
        return event

    def finish(self) -> None:
        """Note that all was told, unless staff had it ended."""
        if self.how_it_ended[0] == LOST:
            self.how_it_ended = (NORMAL, "")

    def _end(self, code: int, reason: str) -> None:
        self.how_it_ended = (code, reason)
        self._break_off(WireError(reason))


@contextmanager
def listed(
    registry: Registry, peer: Peer, question: Question, *, size: int, break_off: Callable[[Exception], None]
) -> Iterator[LiveCall]:
    """List a call of `size` bytes as long as the block lasts; `break_off` ends what it waits for."""
    call = LiveCall(registry, peer, question, size=size, break_off=break_off)
    try:
        yield call
    finally:
        registry.close(call.live, *call.how_it_ended)
