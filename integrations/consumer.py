"""GatewayConsumer, the one base class of every WebSocket consumer.

It replaces Channels' dispatch with a plain receive loop: the stock one makes a thread hop for every frame. Nothing
slow runs inside the loop; long work runs in tasks that the consumer or the turn runner owns, so a ping never waits for
an answer. What arrives from the hub goes straight to the outbound buffer.
"""

import asyncio
import math
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar
from uuid import UUID, uuid4

import structlog
from channels.generic.websocket import AsyncWebsocketConsumer
from django.utils import timezone
from limits import RateLimitItem

from connections.auth import Principal, Scope, may, may_use
from connections.hub import Encoder, Member, Membership, Topic
from connections.jobs import LONGEST_REASON, LOST, ConnectionRow
from connections.limits import Allowance
from connections.metrics import CLOSE_CODES, CLOSED, DEAD_PEER, OPENED, OTHER, REFUSED_FRAME, REFUSED_HANDSHAKE
from connections.registry import LiveConnection
from conversations.store import OutcomeUnknown, StoreFull, StoreUnavailable
from integrations import admission
from integrations.errors import (
    NORMAL,
    NOT_ALLOWED,
    NOT_AUTHENTICATED,
    POLICY,
    RESTARTING,
    TOO_BIG,
    TOO_MANY,
    TOO_SLOW,
    TRY_LATER,
    Fault,
    Limited,
    WireError,
    fault_of,
)
from integrations.limiting import MESSAGE, Strikes, admit, allowance
from integrations.outbound import EXTENSION, NO_PONG, DirectTransport, Frame, Outbound
from integrations.parts import Parts
from integrations.peers import Peer
from integrations.strict import ProtocolError

log = structlog.get_logger(__name__)

REFUSED_FRAMES = 10  # so many refused frames within REFUSED_WITHIN seconds close the connection with 1008
REFUSED_WITHIN = 60.0
LIMITED = 10  # so many times over a limit within LIMITED_WITHIN seconds close it with 4129
LIMITED_WITHIN = 60.0
RECHECK = 2.0  # seconds between two looks at a credential; with what is cached, a change takes hold within 5 (S4)
TOO_MANY_STATUS = 429  # of an error that tells that something is over a limit
TASKS = 64  # long works that one connection may have going at once
TASKS_RETRY = 1  # seconds after which one that was refused may be tried again
ORDINARY = {NORMAL, 1001, 1005, 1006, RESTARTING}  # close codes of leaving, breaking off, and our own restart


class Disconnected(Exception):  # noqa: N818  an event, not a fault
    """The peer is gone."""


class GatewayConsumer(AsyncWebsocketConsumer):
    """A socket of one wire. Subclasses parse frames and act on them."""

    wire: ClassVar[str]
    small_frames: ClassVar[bool] = False  # whether this wire's frames are bounded tighter than the server's
    held_up: ClassVar[bool] = False  # whether who sends too much is read more slowly, not refused
    principal: Principal  # set by `opened`

    def __init__(self, *, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        self.connection_id = str(uuid4())
        self.live: LiveConnection | None = None
        self._memberships: list[Membership] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused = Strikes(REFUSED_FRAMES, REFUSED_WITHIN)
        self._limited = Strikes(LIMITED, LIMITED_WITHIN)
        self._closed: tuple[int, str] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._peer_closed = False

    # --- What a wire adds ------------------------------------------------------------------------

    @abstractmethod
    async def opened(self) -> None:
        """Greet the client after the upgrade: credential, then pipeline, then the greeting; may raise WireError."""

    @abstractmethod
    async def received(self, data: str | bytes) -> None:
        """Act on one message; raise ProtocolError where it is not of this wire."""

    @abstractmethod
    def error_frame(self, fault: Fault) -> Frame | None:
        """Return an error in the wire's own shape; None where the wire is silent about it."""

    async def objection(self) -> Fault | None:
        """Return what speaks against the upgrade, or None; a wire may add to it."""
        return await admission.objection(self.parts, self.peer)

    # --- What a wire uses ------------------------------------------------------------------------

    def push(self, frame: Frame) -> None:
        """Send a frame; never blocks."""
        self.outbound.push(frame)

    def fail(self, error: Exception, shape: Callable[[Fault], Frame] | None = None) -> None:
        """Tell the client of `error`, in its own `shape` where it has one, and close where it says so."""
        fault = fault_of(error)
        if not fault.expected:
            log.error("connection.error", wire=self.wire, connection_id=self.connection_id, exc_info=error)
        frame = (shape or self.error_frame)(fault)
        if frame is not None:
            self.push(frame)
        if fault.status == TOO_MANY_STATUS and self._limited.are_out():
            self.end(TOO_MANY, "too many requests")
        if fault.close_code is not None:
            self.end(fault.close_code, fault.message)

    async def admit(self, limit: RateLimitItem, what: str, who: str) -> None:
        """Count one `what` of `who`; raise Limited where that is too much."""
        await admit(self.parts.limiter, limit, f"{self.wire}.{what}", who)

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection after what was pushed; the first call decides code and reason."""
        if self._closed is None:
            self._note_end(code, reason.encode()[:LONGEST_REASON].decode(errors="ignore"))
            self._closing = asyncio.get_running_loop().create_task(self._close())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run long work in a task that ends with the connection; raise Limited where too much is going on."""
        if len(self._tasks) >= TASKS:
            work.close()
            self.parts.limiter.reached(f"{self.wire}.tasks", self.connection_id, TASKS)
            raise Limited(TASKS_RETRY)
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def watch_credential(self, token: str) -> None:
        """Follow the token: end the connection with it or with its right to read, take over its other scopes."""
        while True:
            await asyncio.sleep(RECHECK)
            try:
                principal = await self.parts.authenticator.identify(token)
            except (StoreFull, StoreUnavailable):
                continue  # the database is away or overrun: nothing is known to have changed
            if principal is None:
                raise WireError("Unauthorized", zh="未通过身份验证", close_code=NOT_AUTHENTICATED, status=401)
            if not self.still_allowed(principal):
                raise WireError("Forbidden", zh="没有权限", close_code=NOT_ALLOWED, status=403)
            if principal.pipeline != self.principal.pipeline:
                self.end(TRY_LATER, "the application has another pipeline now")
                return
            self.principal = principal

    def still_allowed(self, principal: Principal) -> bool:
        """Tell whether a principal, as it is now, may have this connection open."""
        return may(principal, Scope.READ) and may_use(principal, self.wire)

    def join(self, topic: Topic, encode: Encoder, member: Member | None = None) -> Membership:
        """Become a member of `topic` until the connection ends; paused until `go_live`.

        What `encode` gives goes to `member`, else out as a frame; it may be called more than once an event.
        """
        membership = self.parts.hub.join(topic, member or self.outbound, encode)
        self._memberships.append(membership)
        return membership

    def leave(self, membership: Membership) -> None:
        """Leave a topic before the connection ends."""
        self.parts.hub.leave(membership)
        self._memberships.remove(membership)

    async def register(
        self,
        *,
        principal: Principal,
        pipeline: UUID | None,
        session: UUID | None,
        session_type: str,
        client: str = "",
    ) -> None:
        """Store this connection among the live ones; `client` is who it is, as staff is told."""
        row = ConnectionRow(
            uuid=UUID(self.connection_id),
            worker=self.parts.registry.worker,
            wire=self.wire,
            pipeline=pipeline,
            session=session,
            session_type=session_type,
            application=principal.application,
            address=self.peer.address,
            user_agent=self.peer.user_agent,
            connected_at=timezone.now(),
            client=client,
        )
        try:
            self.live = await self.parts.registry.open(row, self.end)
        except (OutcomeUnknown, asyncio.CancelledError):
            # The row may be there, and would count as live until this worker ends.
            self.parts.registry.close(LiveConnection(row, self.end), TRY_LATER, "not opened")
            raise
        self.outbound.on_sent = self.live.sent

    def rename(self, client: str, session: UUID) -> None:
        """Tell staff who it turned out to be, and in which session."""
        if self.live is not None:
            self.parts.registry.rename(self.live, client, session)

    async def next_message(self) -> str | bytes:
        """Wait for the client's next message; raise Disconnected when it is gone."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._peer_closed = True
            if message.get("reason") == NO_PONG and message["code"] == LOST:
                self.parts.metrics.count(DEAD_PEER, self.wire)
            if self._closed is None:
                self._note_end(int(message.get("code") or 1005), (message.get("reason") or "").replace("\0", ""))
            raise Disconnected
        data: str | bytes | None = message.get("text")
        if data is None:
            data = message.get("bytes") or b""
        if self.live is not None:
            self.live.received(len(data))
        return data

    # --- The life of a connection ----------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection from upgrade to tidy-up."""
        structlog.contextvars.bind_contextvars(connection_id=self.connection_id, wire=self.wire)
        self.scope = scope
        self.base_send = send
        self._receive = receive
        options = self.parts.options
        self.peer = Peer(scope, options.trusted_proxies)
        direct: DirectTransport | None = (scope.get("extensions") or {}).get(EXTENSION)
        self._direct = direct
        self._allowance = allowance(options)
        self.outbound = Outbound(
            send, direct, limit=options.outbound_bytes, too_slow=self._too_slow, metrics=self.parts.metrics
        )
        if (await receive())["type"] != "websocket.connect":
            return
        with self.parts.places.held(self.peer.network) as is_held:
            refusal = await self._refusal() if is_held else admission.CROWDED
            if refusal is None:
                await send({"type": "websocket.accept", "subprotocol": self.peer.subprotocol})
                self.parts.metrics.count(OPENED, self.wire)
                try:
                    await self._serve()
                finally:
                    await self._tidy_up()
        if refusal is not None:
            await self._refuse(refusal)

    async def _serve(self) -> None:
        try:
            await self.opened()
            while True:
                data = await self.next_message()
                if self._closed is not None:
                    continue  # read on, so that the peer's close frame is seen
                if self.small_frames and _is_longer(data, self.parts.options.small_frame_bytes):
                    self.end(TOO_BIG, "message too big")
                    continue
                try:
                    if self._allowance is not None and (wait := self._allowance.spend(len(data))):
                        await self._sends_too_much(wait, self._allowance, len(data))
                    await self.received(data)
                except ProtocolError as error:
                    self._refuse_frame(error)
                except WireError as error:
                    self.fail(error)
                del data  # it would be kept until the next one comes
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001  `fail` looks it up in the one table
            self.fail(error)
            self.end(1011 if not fault_of(error).expected else TRY_LATER)
        try:
            while not self._peer_closed:
                await self.next_message()
        except Disconnected:
            pass

    async def _sends_too_much(self, wait: float, allowance: Allowance, size: int) -> None:
        """Read no more until the peer may have sent this, or raise Limited."""
        self.parts.limiter.reached(f"{self.wire}.{MESSAGE}", self.connection_id, "its allowance")
        if not self.held_up:
            raise Limited(math.ceil(wait))
        while wait:
            await asyncio.sleep(wait)
            wait = allowance.spend(size)

    async def _refusal(self) -> Fault | None:
        """Return why there is no upgrade, or None."""
        try:
            await self.parts.ready()
            return await self.objection()
        except Exception as error:
            fault = fault_of(error)
            if not fault.expected:
                log.exception("connection.error", wire=self.wire, connection_id=self.connection_id)
            return fault

    async def _refuse(self, fault: Fault) -> None:
        self.parts.metrics.count(REFUSED_HANDSHAKE, fault.reason or str(fault.status))
        limiter, who = self.parts.limiter, self.peer.network
        if fault.reason not in admission.OFTEN or limiter.is_news(f"refused.{fault.reason}", who):
            log.info(
                "connection.refused",
                wire=self.wire,
                status=fault.status,
                reason=fault.message,
                address=self.peer.address,
                origin=(self.peer.origin or "")[:200],
            )
        if fault.reason in admission.HELD_BACK:
            await self.parts.brake.hold()
        await admission.refuse(self.scope, self.base_send, fault)

    def _refuse_frame(self, error: ProtocolError) -> None:
        self.parts.metrics.count(REFUSED_FRAME, self.wire)
        self.fail(error)
        if self._refused.are_out():
            self.end(POLICY, "too many refused frames")

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  `fail` looks it up in the one table
            self.fail(error)

    def _too_slow(self) -> None:
        self.end(TOO_SLOW, "too slow")

    def _note_end(self, code: int, reason: str) -> None:
        self._closed = (code, reason)
        if code not in ORDINARY:
            log.info(
                "connection.closed",
                wire=self.wire,
                connection_id=self.connection_id,
                address=self.peer.address,
                code=code,
                reason="" if self._peer_closed else reason,  # the peer's words are not for the log
            )

    async def _close(self) -> None:
        assert self._closed is not None
        code, reason = self._closed
        try:
            async with asyncio.timeout(self.parts.options.close_timeout):
                await self.outbound.flush()
                await self.base_send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            if self._direct is not None:
                self._direct.abort()
        except Exception as error:  # noqa: BLE001  the peer left first: there is nobody to tell
            log.debug("connection.close_not_sent", error=type(error).__name__)

    async def _tidy_up(self) -> None:
        for membership in self._memberships:
            self.parts.hub.leave(membership)
        for task in self._tasks:
            task.cancel()
        self.outbound.close()
        code, reason = self._closed or (RESTARTING, "")
        self.parts.metrics.count(CLOSED, str(code) if str(code) in CLOSE_CODES else OTHER)
        if self.live is not None:
            self.parts.registry.close(self.live, code, reason)
        if self._closing is not None:
            await self._closing


def _is_longer(data: str | bytes, limit: int) -> bool:
    """Tell whether a message has more than `limit` bytes."""
    if len(data) > limit or isinstance(data, bytes):
        return len(data) > limit
    return len(data) * 4 > limit and len(data.encode()) > limit
