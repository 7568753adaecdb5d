"""One client's letters on their way in: each to whom it is for, in the order they came, and a receipt for each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import structlog

from connections.auth import Principal, Scope, may
from connections.events import Replied, ReplyTopic
from connections.limits import per_minute
from connections.mail import Deliver, Outcome
from connections.mailroom import Mailroom
from conversations.responders.base import PipelineConfig
from conversations.store import StoreFull
from conversations.turns import PipelineMissing
from conversations.types import Accepted
from integrations.access import pipeline_of
from integrations.errors import Limited, WireError, fault_of
from integrations.limiting import SESSION_TURN, admit, admit_turn
from integrations.parts import Parts
from integrations.postoffice.courier import REPLY, objection
from integrations.postoffice.protocol import (
    HEARTBEAT,
    REPLIES,
    UNASKED,
    Delivery,
    Fate,
    Letter,
    Receipt,
    is_bot,
    parse,
    pipeline_in,
    serialise,
)
from integrations.postoffice.translate import ask
from integrations.strict import ProtocolError

log = structlog.get_logger(__name__)

IN_FLIGHT = 500  # letters of one connection that are being stored; then it is not read on
IN_FLIGHT_BYTES = 4 * 1024 * 1024
QUESTIONS = per_minute(120)  # of one client to the bot
FULL_PATIENCE = 5.0  # seconds that a letter waits for room in a full store
FULL_RETRY = 0.05

REJECTED: Fate = "rejected"
RANKS = get_args(Fate)  # a letter's receipt names the worst of its recipients'
_WORDS: dict[Outcome, Fate] = {Outcome.DELIVERED: "delivered", Outcome.QUEUED: "queued"}
# What the metrics call a letter that is none or for nobody, and one of a letter's recipients that does not get it.
LETTER = "postoffice_letters"
RECIPIENT = "postoffice_recipients"


class Sorter:
    """Takes the letters of one connection; `receipt` is told what to send back, where the client asked for it."""

    def __init__(
        self,
        parts: Parts,
        mailroom: Mailroom,
        *,
        client_id: str,
        connection_id: str,
        principal: Callable[[], Principal],
        limited: Callable[[Limited], None],
        receipt: Callable[[str], None] | None,
    ) -> None:
        self._parts = parts
        self._mailroom = mailroom
        self._client_id = client_id
        self._connection_id = connection_id
        self._principal = principal
        self._limited = limited
        self._receipt = receipt
        self._number = 0
        self._letters = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()  # kinds of errors that the log has heard of
        self._dropped: Counter[str] = Counter()
        self._closed = False

    def close(self) -> None:
        """Hear that the connection is over; what it led to is told once its last letter is settled."""
        self._closed = True
        self._report()

    async def take(self, data: str | bytes) -> None:
        """Send one message's letter on its way; waits only while much is on its way already."""
        self._number += 1
        try:
            letter = parse(data, self._client_id)
        except ProtocolError as error:
            self._drop("no letter", str(error))
            return
        if not may(self._principal(), Scope.WRITE):
            self._drop("forbidden", "Forbidden", letter)
            return
        if len(letter.text) * 4 > self._parts.options.outbound_bytes < len(letter.text.encode()):
            self._drop("too long", "Too long", letter)  # no reader could ever be sent it
            return
        while self._letters >= IN_FLIGHT or self._bytes >= IN_FLIGHT_BYTES:
            self._room.clear()
            await self._room.wait()
        await self._dispatch(letter)

    async def _dispatch(self, letter: Letter) -> None:
        """Hand a letter to everybody it is for."""
        outcomes: dict[str, Fate] = {}
        waiting: list[tuple[tuple[str, ...], asyncio.Future[Any]]] = []
        reasons: list[str] = []
        clients = tuple(name for name in letter.recipients if not is_bot(name) and not name.startswith(REPLIES))
        try:
            if clients:
                waiting.append((clients, await self._deliver(letter, clients)))
        except Exception as error:  # noqa: BLE001  looked up in the one table
            self._failed(error, clients, outcomes, reasons)
        for name in letter.recipients:
            try:
                if name.startswith(REPLIES):
                    outcomes[name] = self._reply(letter, name)
                elif is_bot(name):
                    if asked := await self._ask(letter, name):
                        waiting.append(((name,), asked))
                    else:
                        outcomes[name] = "delivered"
            except Exception as error:  # noqa: BLE001  looked up in the one table
                self._failed(error, (name,), outcomes, reasons)
        self._letters += 1
        self._bytes += len(letter.text)
        task = asyncio.get_running_loop().create_task(self._settle(self._number, letter, waiting, outcomes, reasons))
        self._tasks.add(task)
        task.add_done_callback(self._settled)

    def _reply(self, letter: Letter, address: str) -> Fate:
        """Send a letter to a reply address; whether somebody still waits there only another process may know."""
        if reason := objection(address, self._client_id):
            self._count(REPLY, reason)
            return REJECTED
        self._parts.hub.publish(ReplyTopic(address), Replied(self._client_id, letter.text))
        return "delivered"

    async def _deliver(self, letter: Letter, clients: tuple[str, ...]) -> "asyncio.Future[tuple[Outcome, ...]]":
        """Queue a letter; a store that is full is waited for, which holds the sender up."""
        job = Deliver(letter.text, clients, self._mailroom.limits, keep=letter.type != HEARTBEAT)
        end = time.monotonic() + FULL_PATIENCE
        while True:
            try:
                return self._mailroom.deliver(job)
            except StoreFull:
                if time.monotonic() >= end:
                    raise
                await asyncio.sleep(FULL_RETRY)

    async def _ask(self, letter: Letter, bot: str) -> "asyncio.Future[Accepted] | None":
        """Put a question to a bot; None where the letter asks for no answer."""
        if letter.type == HEARTBEAT or letter.type in UNASKED:
            return None
        if not letter.question.strip():
            raise WireError("content is required")
        pipeline = self._pipeline(bot)
        await admit(self._parts.limiter, QUESTIONS, f"postoffice.{SESSION_TURN}", self._client_id)
        application = self._principal().application
        await admit_turn(self._parts, application)
        return ask(self._parts.turns, letter, pipeline, self._client_id, bot, self._connection_id, application)

    def _pipeline(self, bot: str) -> PipelineConfig:
        """Return the pipeline behind a bot's address; one that is not for this client looks like a missing one."""
        principal = self._principal()
        uuid = pipeline_in(bot)
        if uuid is None:
            return pipeline_of(self._parts, principal)
        pipeline = self._parts.catalogue.get(uuid)
        if pipeline is None or principal.pipeline not in (None, uuid):
            raise PipelineMissing
        return pipeline

    async def _settle(
        self,
        number: int,
        letter: Letter,
        waiting: list[tuple[tuple[str, ...], "asyncio.Future[Any]"]],
        outcomes: dict[str, Fate],
        reasons: list[str],
    ) -> None:
        """Wait until a letter is stored everywhere, then say so."""
        for names, future in waiting:
            try:
                result = await future
            except Exception as error:  # noqa: BLE001  looked up in the one table
                self._failed(error, names, outcomes, reasons)
            else:
                found = result if isinstance(result, tuple) else (Outcome.DELIVERED,)
                outcomes |= {name: _WORDS.get(one, REJECTED) for name, one in zip(names, found, strict=True)}
                for outcome in found:
                    if outcome not in _WORDS:
                        self._count(RECIPIENT, outcome.value)
        self._letters -= 1
        self._bytes -= len(letter.text)
        self._room.set()
        if letter.refused:
            self._count(RECIPIENT, "refused", letter.refused)
        elif not outcomes:
            self._count(LETTER, "no recipient")
        self._answer(number, letter, outcomes, reasons)

    def _failed(self, error: Exception, names: tuple[str, ...], outcomes: dict[str, Fate], reasons: list[str]) -> None:
        fault = fault_of(error)
        outcomes |= dict.fromkeys(names, REJECTED)
        reasons.append(fault.message)
        kind = type(error).__name__
        is_news = kind not in self._told
        self._told.add(kind)
        self._count(RECIPIENT, kind, len(names))
        if isinstance(error, Limited):
            self._limited(error)
        if fault.expected and is_news:  # once: the end of the connection tells how many
            log.info("postoffice.not_taken", connection_id=self._connection_id, error=kind, reason=fault.message)
        elif not fault.expected:
            log.error("postoffice.error", connection_id=self._connection_id, exc_info=error)

    def _drop(self, reason: str, words: str, letter: Letter | None = None) -> None:
        self._count(LETTER, reason)
        self._answer(self._number, letter, {}, [words])

    def _count(self, what: str, reason: str, times: int = 1) -> None:
        self._parts.metrics.count(what, reason, times)
        self._dropped[reason] += times

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._report()

    def _report(self) -> None:
        """Log what this connection's letters came to nothing for, once all is known."""
        if self._closed and not self._tasks and self._dropped:
            log.info(
                "postoffice.letters_dropped",
                connection_id=self._connection_id,
                count=self._dropped.total(),
                reasons=dict(self._dropped),
            )

    def _answer(self, number: int, letter: Letter | None, outcomes: dict[str, Fate], reasons: list[str]) -> None:
        """Send a receipt to who asked for them."""
        if self._receipt is None:
            return
        refused = letter.refused if letter else 0
        reference = letter.reference if letter else ""
        receipt = Receipt(
            to=self._client_id,
            subject=max(outcomes.values(), key=RANKS.index) if outcomes and not refused else REJECTED,
            content=Delivery(number, outcomes, refused, reasons[0] if reasons else ""),
            reference=msgspec.Raw((reference or "null").encode()),
            time=int(time.time()),
        )
        self._receipt(serialise(receipt))
