"""The pipeline wire's socket: frame → service → frames."""

import asyncio
import math
import time
from typing import assert_never
from uuid import UUID, uuid4

from django.utils import timezone

from connections.auth import Principal, Scope, may, visitor_of
from connections.hub import Membership
from conversations import selectors
from conversations.responders.base import PipelineConfig
from conversations.store import Refused, StoreError
from conversations.turns import PipelineMissing
from conversations.types import (
    DEFAULT_ROOM,
    Accepted,
    MessageStored,
    PipelineTopic,
    Question,
    SessionKey,
    SessionTopic,
    SessionType,
    room_key,
)
from integrations import resume
from integrations.consumer import GatewayConsumer
from integrations.errors import NORMAL, NOT_ALLOWED, NOT_AUTHENTICATED, TRY_LATER, Fault, WireError
from integrations.langbot.protocol import (
    Authenticate,
    ChatMessage,
    Connected,
    Disconnect,
    Error,
    Ping,
    Pong,
    Resume,
    Resumed,
    Stop,
    Unknown,
    parse,
    serialise,
    stamp,
    text_of,
)
from integrations.langbot.translate import encode, prompt
from integrations.outbound import Frame
from integrations.strict import ProtocolError

ROOM_NAME_LENGTH = 100
REPLAY_PATIENCE = 10.0  # seconds that the peer may take to read what waits before the next replayed message
RESUME_INTERVAL = 0.2  # seconds between two resumes of one connection; the next waits
STOP_INTERVAL = 0.2  # seconds in which a second stop of one connection says nothing new, unless it asked in between
BAD_SESSION_TYPE = "session_type must be person or group"
NO_SUCH_SESSION = "Session not found"


class PipelineConsumer(GatewayConsumer):
    """One client of one pipeline."""

    wire = "langbot"
    credential: str | None = None
    replaying = False
    replay_patience = REPLAY_PATIENCE
    resumed_at = -math.inf
    stopped_at = -math.inf
    pipeline: PipelineConfig
    session: SessionKey
    membership: Membership

    # --- Opening ---------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Check credential, session type and pipeline, in this order, then greet and go live."""
        self.principal = await self._authenticate()
        session_type = self._session_type()
        self.pipeline = await self._find_pipeline()
        known = await self._choose_session(session_type)
        self.membership = self.join(SessionTopic(self.session.uuid), encode)
        everybody = self.join(PipelineTopic(self.pipeline.uuid, session_type), encode)
        await self.register(
            principal=self.principal,
            pipeline=self.pipeline.uuid,
            session=self.session.uuid,
            session_type=session_type,
        )
        last_seq = await self._last_seq() if known else 0
        self.push(
            Frame(
                serialise(
                    Connected(
                        connection_id=self.connection_id,
                        pipeline_uuid=str(self.pipeline.uuid),
                        session_type=session_type,
                        timestamp=stamp(timezone.now()),
                        session_id=self.session.name if session_type == "group" else str(self.session.uuid),
                        resume_token=resume.issue(self.session),
                        last_seq=last_seq,
                    )
                )
            )
        )
        everybody.go_live()
        if self.credential and self.principal.kind == "application":
            self.spawn(self.watch_credential(self.credential))
        wanted = self.peer.query.get("last_seq")
        if wanted is not None and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
            self.spawn(self._replay(int(wanted)))
        else:
            self.membership.go_live(last_seq)

    async def _authenticate(self) -> Principal:
        """Return who is speaking: by the handshake's credential, else by a first frame in time."""
        self.credential = self.peer.token
        principal = await self.parts.authenticator.identify(self.credential)
        if principal is None and self.credential is None:
            principal = await self._visitor() or await self._first_frame()
        if principal is None:
            raise WireError("Unauthorized", close_code=NOT_AUTHENTICATED)
        if not may(principal, Scope.READ):
            raise WireError("Forbidden", close_code=NOT_ALLOWED)
        return principal

    async def _visitor(self) -> Principal | None:
        """Return a visitor where the pipeline is public and a page asks, whose origin has been found allowed."""
        uuid = self._pipeline_uuid()
        pipeline = await self.parts.catalogue.find(uuid) if uuid else None
        if pipeline is None or not pipeline.public or self.peer.origin is None:
            return None
        return visitor_of(pipeline.uuid)

    async def _first_frame(self) -> Principal | None:
        try:
            async with asyncio.timeout(self.parts.options.authenticate_timeout):
                frame = parse(await self.next_message())
        except (TimeoutError, ProtocolError):
            return None
        if not isinstance(frame, Authenticate):
            return None
        self.credential = frame.token
        return await self.parts.authenticator.identify(frame.token)

    def _session_type(self) -> SessionType:
        match self.peer.query.get("session_type", "person"):
            case "person":
                return "person"
            case "group":
                return "group"
            case _:
                raise WireError(BAD_SESSION_TYPE, close_code=NORMAL)

    def _pipeline_uuid(self) -> UUID | None:
        try:
            return UUID(self.scope["url_route"]["kwargs"]["pipeline_uuid"])
        except ValueError:
            return None

    async def _find_pipeline(self) -> PipelineConfig:
        uuid = self._pipeline_uuid()
        pipeline = await self.parts.catalogue.find(uuid) if uuid else None
        if pipeline is None or self.principal.pipeline not in (None, pipeline.uuid):
            raise PipelineMissing
        return pipeline

    async def _choose_session(self, session_type: SessionType) -> bool:
        """Set the session; tell whether something may have been said in it already."""
        asked = self.peer.query.get("session_id", "")
        if session_type == "group":
            if len(asked) > ROOM_NAME_LENGTH or "\0" in asked:
                raise WireError("session_id must have at most 100 characters, and no NUL", close_code=NOT_ALLOWED)
            self.session = room_key(self.pipeline.uuid, asked or DEFAULT_ROOM)
            return True
        if not asked:
            self.session = SessionKey(uuid4(), self.pipeline.uuid, "person")
            return False
        try:
            key = SessionKey(UUID(asked), self.pipeline.uuid, "person")
        except ValueError:
            raise WireError(NO_SUCH_SESSION, close_code=NOT_ALLOWED) from None
        token = self.peer.query.get("resume_token", "")
        if not resume.is_valid(token, key) and not await self._is_own(key):
            raise WireError(NO_SUCH_SESSION, close_code=NOT_ALLOWED)
        self.session = key
        return True

    async def _is_own(self, key: SessionKey) -> bool:
        """Tell whether the session was opened with a token of the same application."""
        if self.principal.application is None:
            return False
        state = await self.parts.store.read(selectors.session_state, key.uuid)
        return state is not None and state.key == key and state.application == self.principal.application

    async def _last_seq(self) -> int:
        # Read only once other processes reach this one, so that nothing is missed between the two.
        await self.parts.hub.ready()
        state = await self.parts.store.read(selectors.session_state, self.session.uuid)
        return state.last_seq if state else 0

    # --- Talking ---------------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Ping():
                self.push(Frame(serialise(Pong(stamp(timezone.now())))))
            case ChatMessage():
                self._ask(frame)
            case Stop():
                if not may(self.principal, Scope.WRITE):
                    raise WireError("Forbidden")
                self._stop()
            case Resume():
                self.spawn(self._replay(frame.last_seq))
            case Disconnect():
                self.end(NORMAL, "goodbye")
            case Authenticate() | Unknown():
                pass
            case _:
                assert_never(frame)

    def _stop(self) -> None:
        now = time.monotonic()
        if now - self.stopped_at >= STOP_INTERVAL:
            self.stopped_at = now
            self.parts.turns.stop(self.session.uuid)

    def _ask(self, frame: ChatMessage) -> None:
        if not may(self.principal, Scope.WRITE):
            raise WireError("Forbidden")
        self.stopped_at = -math.inf
        pipeline = self.parts.catalogue.get(self.pipeline.uuid) or self.pipeline  # its settings may have changed
        asked = prompt(frame, pipeline, group=self.session.session_type == "group")
        question = Question(
            session=self.session,
            wire=self.wire,
            text=text_of(frame.components),
            prompt=asked or "",
            components=frame.chain,
            connection_id=self.connection_id,
            client_msg_id=frame.client_msg_id,
            application=self.principal.application,
            wants_answer=asked is not None,
            stream=frame.stream,
        )
        try:
            accepting = self.parts.turns.ask(question)
        except (PipelineMissing, Refused, StoreError) as error:
            self.fail(error)
        else:
            # The runner owns it: a question accepted is answered, whether this socket lives or not.
            accepting.add_done_callback(self._asked)

    def _asked(self, accepting: "asyncio.Future[Accepted]") -> None:
        if accepting.cancelled():
            return
        error = accepting.exception()
        if isinstance(error, Exception):
            self.fail(error)
        elif error is None and (accepted := accepting.result()).duplicate:
            # The others in the session have seen both; only who sent it again is told again.
            for message in (accepted.message, accepted.answer):
                if message is not None and (told := encode(MessageStored(message))):
                    self.push(told)

    async def _replay(self, last_seq: int) -> None:
        """Replay what came after `last_seq`, as fast as the peer reads, then go live from there."""
        if self.replaying:
            raise WireError("A resume is going on already")
        self.replaying = True
        self.membership.pause()
        try:
            await asyncio.sleep(self.resumed_at + RESUME_INTERVAL - time.monotonic())
            self.resumed_at = time.monotonic()
            await self.parts.hub.ready()
            replayed = await self.parts.store.read(selectors.replay, self.session.uuid, last_seq)
            self.push(Frame(serialise(Resumed(replayed.complete, replayed.last_seq))))
            for message in replayed.messages:
                frame = encode(MessageStored(message))
                if frame is not None:
                    await self._read_by_peer()
                    self.push(frame)
            self.membership.go_live(replayed.last_seq)
        except Exception as error:  # noqa: BLE001  `fail` looks it up in the one table
            # Half resumed is worse than not connected: the client comes again.
            self.fail(error)
            self.end(TRY_LATER)
        finally:
            self.replaying = False

    async def _read_by_peer(self) -> None:
        """Wait until nothing waits for the peer, who is too slow where that takes too long."""
        await asyncio.sleep(0)  # a long replay lets others have their turn
        try:
            async with asyncio.timeout(self.replay_patience):
                await self.outbound.drained()
        except TimeoutError:
            self.outbound.lost()

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error in this wire's shape."""
        return Frame(serialise(Error(fault.message, fault.retry_after)))
