"""A pipeline's routes, asked one after another for the answer to a turn's question."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from uuid import UUID

import structlog

from conversations import contacts, escalation, matching, phrases, selectors
from conversations.answer import Answer
from conversations.catalogue import Catalogue
from conversations.jobs import Begin
from conversations.responders.base import Ask, Busy, PipelineConfig, Responder, ResponderError, RouteConfig
from conversations.store import Store, StoreError, StoreFull
from conversations.types import Outcome, Reply, Turn

log = structlog.get_logger(__name__)


class Routes:
    """Knows the responders of this process, and asks those that a pipeline's routes name."""

    def __init__(
        self, *, store: Store, catalogue: Catalogue, responders: Mapping[str, Responder], worker: Callable[[], UUID]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._responders = responders
        self._worker = worker
        self._bad_patterns: set[tuple[UUID, str]] = set()  # told of in the log

    def can_answer(self, pipeline: PipelineConfig) -> bool:
        """Tell whether a responder of this process stands behind any of a pipeline's routes."""
        return any(route.kind in self._responders for route in pipeline.routes)

    async def answer(self, turn: Turn, answer: Answer, deadline: float) -> Outcome:
        """Ask the routes of a turn's pipeline in order until one has filled `answer`; return how it ended."""
        pipeline = self._catalogue.get(turn.session.pipeline)
        routes = pipeline.routes if pipeline else ()
        model_failed = busy = False
        for route in routes:
            assert pipeline is not None
            responder = self._responders.get(route.kind)
            if responder is None or not await self._is_for(route, turn):
                continue
            answer.lead(phrases.FALLBACK[turn.language] if model_failed and route.kind == "knowledge" else "")
            try:
                reply = await self._ask_responder(turn, answer, responder, pipeline, route, deadline)
            except (ResponderError, StoreError) as error:
                log.warning("turn.responder_failed", turn=turn.id, responder=route.kind, reason=str(error))
                busy = busy or isinstance(error, Busy | StoreFull)
            except Exception:
                log.exception("turn.responder_broken", turn=turn.id, responder=route.kind)
            else:
                answer.reply, answer.responder = reply, route.kind
                return Outcome.ANSWERED if reply.known else Outcome.UNKNOWN
            model_failed = model_failed or route.kind == "openai"
            if answer.text:  # part of an answer was shown: another responder cannot go on from there
                answer.end_with(phrases.BROKEN_OFF[turn.language])
                answer.responder = route.kind
                return Outcome.FAILED
        failure_text = pipeline.failure_text if pipeline else ""
        failure = phrases.BUSY[turn.language] if busy else failure_text or phrases.FAILURE[turn.language]
        answer.end_with(failure)
        return Outcome.FAILED

    async def _is_for(self, route: RouteConfig, turn: Turn) -> bool:
        """Tell whether a route is for a turn's question; one whose pattern cannot tell is not."""
        try:
            if route.match == "regex":  # may take its time
                return await asyncio.to_thread(matching.matches, route, turn.question)
            return matching.matches(route, turn.question)
        except matching.PatternError as error:
            place = (turn.session.pipeline, route.pattern)
            if place not in self._bad_patterns:
                self._bad_patterns.add(place)
                log.warning("route.pattern_failed", pipeline=str(place[0]), pattern=route.pattern, reason=str(error))
            return False

    async def _ask_responder(
        self, turn: Turn, answer: Answer, responder: Responder, pipeline: PipelineConfig, route: RouteConfig,
        deadline: float,
    ) -> Reply:  # fmt: skip
        history = (
            await self._store.read(selectors.past_messages, turn.session_id, turn.epoch, turn.question_seq)
            if responder.wants_history and turn.question_seq > 1
            else ()
        )
        files = (
            await self._store.read(selectors.files_of, turn.question_id)
            if responder.wants_history and turn.has_files
            else ()
        )
        called = (
            await self._store.read(contacts.is_owner_called, turn.session_id)
            if escalation.only_asks_for_owner(turn.question)
            else None
        )
        begun = None if responder.repeatable else self._store.submit(Begin(turn, self._worker()))
        reply = Reply()
        ask = Ask(turn.question, turn.language, pipeline, route, deadline, history, turn.id, turn.recall, called, files)
        async with aclosing(responder.answer(ask)) as parts:
            async for part in parts:
                if begun is not None:
                    # Shown only once it is on record that this answer began: nobody will begin it again.
                    await begun
                    begun = None
                if isinstance(part, str):
                    answer.add(part)
                else:
                    reply = part
        return reply
