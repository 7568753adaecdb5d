"""Answers that lie in the outbox, and what was claimed of them."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from conversations.jobs import Accept, Finish, Letter
from conversations.models import Pipeline
from conversations.types import Accepted, Outcome, SessionKey
from tests.conversations.doubles import WatchedStore, new_session, question


async def answer(
    store: WatchedStore,
    pipeline: Pipeline,
    kind: str,
    session: SessionKey | None = None,
    *,
    application: UUID | None = None,
) -> int:
    """Store a question whose answer is to be delivered, and the answer; return the answer's id."""
    worker = uuid4()
    asked = question(session or new_session(pipeline), "What is it?", notify=kind, application=application)
    accepted: Accepted = await store.write(Accept(asked, pipeline.pk, worker))
    assert accepted.turn is not None
    await store.write(Finish(accepted.turn, worker, "The answer.", Outcome.ANSWERED))
    return accepted.turn.id


async def answers(store: WatchedStore, pipeline: Pipeline, kind: str, number: int) -> list[int]:
    """Store so many answers that are to be delivered, all of one session."""
    session = new_session(pipeline)
    return [await answer(store, pipeline, kind, session) for _ in range(number)]


def ids(letters: Sequence[Letter]) -> list[int]:
    """Return the ids of what was claimed."""
    return [letter.message.id for letter in letters]
