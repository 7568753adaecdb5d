"""The pipeline wire's socket: frame → service → frames."""

import asyncio
import math
import time
from typing import assert_never
from uuid import UUID, uuid4

import msgspec
from django.utils import timezone
from msgspec import UNSET

from connections.auth import Principal, Scope, may
from connections.limits import per_minute
from conversations import selectors
from conversations.escalation import asks_for_owner
from conversations.responders.base import PipelineConfig
from conversations.selectors import Replay
from conversations.turns import PipelineMissing
from conversations.types import (
    PipelineTopic,
    Question,
    SessionKey,
    SessionType,
)
from integrations import resume
from integrations.access import admitted, identify
from integrations.errors import NORMAL, NOT_ALLOWED, Fault, Limited, WireError
from integrations.langbot.attachments import Attachments
from integrations.langbot.components import text_of
from integrations.langbot.handshake import NO_SUCH_SESSION, resumes_after, session_of, session_type_of
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
)
from integrations.langbot.rich import RENDERED_AGAIN, RichEncoder, language_of, retell
from integrations.langbot.translate import WIRE, encode, prompt
from integrations.limiting import (
    CONTACTS_OF_ADDRESS,
    CONTACTS_OF_VISITOR,
    SESSION_TURN,
    TURNS_OF_ADDRESS,
    TURNS_OF_VISITOR,
    admit_turn,
)
from integrations.outbound import Frame
from integrations.parts import Parts
from integrations.sessions import SessionConsumer, Teller
from integrations.strict import ProtocolError

STOP_INTERVAL = 0.2  # seconds between two stops of one connection; the second waits, and takes those after it along
NO_WORDS = "message must have text where contact is true"


class PipelineConsumer(SessionConsumer):
    """One client of one pipeline."""

    wire = WIRE
    credential: str | None = None
    stopped_at = -math.inf
    stopping = False  # a stop is on its way
    is_rich = False  # asks for more than LangBot's clients know
    tell = staticmethod(encode)

    def __init__(self, *, parts: Parts, rich: RichEncoder) -> None:
        super().__init__(parts=parts)
        self._rich = rich

    # --- Opening ---------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Check credential, session type and pipeline, in this order, then greet and go live."""
        self.principal = await self._authenticate()
        if self.peer.query.get("rich") == "1":
            self.is_rich = True
            self.tell = self._rich.encode  # one function for all of them
        session_type = session_type_of(self.peer.query.get("session_type", "person"))
        self.pipeline = await self._find_pipeline()
        self.attachments = Attachments(self.parts, self.peer)
        session, known = await self._choose_session(session_type)
        membership = self.enter(session)
        everybody = self.join(PipelineTopic(self.pipeline.uuid, session_type), self.tell)
        await self.register(
            principal=self.principal,
            pipeline=self.pipeline.uuid,
            session=self.session.uuid,
            session_type=session_type,
            client=session.name,
        )
        last_seq = await self.last_seq() if known else 0
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
                        language=language_of(self.peer) if self.is_rich else UNSET,
                    )
                )
            )
        )
        everybody.go_live()
        if self.credential and self.principal.kind == "application":
            self.spawn(self.watch_credential(self.credential))
        try:
            after = resumes_after(self.peer.query)
        except ProtocolError as error:
            self.fail(error)  # told of, and nothing is replayed
            after = None
        if after is None:
            membership.go_live(last_seq)
        else:
            self.spawn(self.replay(after, told=last_seq))

    async def _authenticate(self) -> Principal:
        """Return who is speaking: by the handshake's credential, else by a first frame in time."""
        self.credential = self.peer.token
        public = await self._named_pipeline()
        principal = await identify(self.parts, self.peer, self.credential, public)
        if principal is None and self.credential is None:
            principal = await self._first_frame()
        return admitted(principal, self.wire)

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

    async def _named_pipeline(self) -> PipelineConfig | None:
        named: str = self.scope["url_route"]["kwargs"]["pipeline_uuid"]
        return await self.parts.catalogue.find(named)

    async def _find_pipeline(self) -> PipelineConfig:
        pipeline = await self._named_pipeline()
        if pipeline is None or self.principal.pipeline not in (None, pipeline.uuid):
            raise PipelineMissing
        return pipeline

    async def _choose_session(self, session_type: SessionType) -> tuple[SessionKey, bool]:
        """Return the session, and whether something may have been said in it already."""
        asked = session_of(self.peer.query, self.pipeline.uuid, session_type)
        if asked is None:
            return SessionKey(uuid4(), self.pipeline.uuid, "person"), False
        token = self.peer.resume_token or self.peer.query.get("resume_token", "")
        may_enter = session_type == "group" or resume.is_valid(token, asked)
        if not (may_enter or await self.is_own(asked, self.principal)):
            raise WireError(NO_SUCH_SESSION, close_code=NOT_ALLOWED)
        return asked, True

    # --- Talking ---------------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Ping():
                self.push(Frame(serialise(Pong(stamp(timezone.now())))))
            case ChatMessage():
                await self._ask(frame)
            case Stop():
                if not may(self.principal, Scope.WRITE):
                    raise WireError("Forbidden")
                if not self.stopping:
                    self.stopping = True
                    self.spawn(self._stop())
            case Resume():
                self.spawn(self.replay(frame.last_seq))
            case Disconnect():
                self.end(NORMAL, "goodbye")
            case Authenticate() | Unknown():
                pass
            case _:
                assert_never(frame)

    async def _stop(self) -> None:
        await asyncio.sleep(self.stopped_at + STOP_INTERVAL - time.monotonic())
        self.stopped_at = time.monotonic()
        self.stopping = False
        self.parts.turns.stop(self.session.uuid)

    async def _ask(self, frame: ChatMessage) -> None:
        await self._admit_turn()
        if self.attachments.concern(frame):
            self.attachments.stand_in_line()
            self.spawn(self._ask_with_files(frame))
        else:
            await self._put(frame)

    async def _ask_with_files(self, frame: ChatMessage) -> None:
        async with self.attachments.turn():
            try:
                prepared = await self.attachments.prepare(
                    frame, self.principal, self.session, self.pipeline, knows_keys=self.is_rich
                )
            except ProtocolError as error:
                self._refuse_frame(error)
            else:
                await self._put(prepared.frame, prepared.uploads)

    async def _put(self, frame: ChatMessage, uploads: tuple[str, ...] = ()) -> None:
        pipeline = self.parts.catalogue.get(self.pipeline.uuid) or self.pipeline  # its settings may have changed
        asked = prompt(frame, pipeline, group=self.session.session_type == "group")
        contact = await self._contact(frame, asked)
        self.ask(
            Question(
                session=self.session,
                wire=self.wire,
                text=text_of(frame.components),
                prompt=asked or "",
                components=frame.chain,
                connection_id=self.connection_id,
                client_msg_id=frame.client_msg_id,
                application=self.principal.application,
                wants_answer=asked is not None or contact is not None,
                stream=frame.stream,
                uploads=uploads,
                contact=contact,
                escalated=contact is not None and not frame.contact,
                only_contact=frame.contact,
                user_agent=self.peer.user_agent if contact else "",
            )
        )

    async def _contact(self, frame: ChatMessage, asked: str | None) -> UUID | None:
        """Return the UUID of the contact request that a message opens, None where it opens none."""
        if frame.contact:
            if not text_of(frame.components).strip():
                raise WireError(NO_WORDS)
            await self._admit_contact()
            return uuid4()
        if not self.is_rich or asked is None or not asks_for_owner(asked):
            return None
        try:
            await self._admit_contact()
        except Limited:  # it is answered all the same
            return None
        return uuid4()

    async def _admit_contact(self) -> None:
        await self.admit(CONTACTS_OF_VISITOR, "request", str(self.session.uuid))
        await self.admit(CONTACTS_OF_ADDRESS, "request_of_address", self.peer.network)

    async def _admit_turn(self) -> None:
        session = str(self.session.uuid)
        if self.principal.kind == "visitor":
            await self.admit(TURNS_OF_VISITOR, SESSION_TURN, session)
            await self.admit(TURNS_OF_ADDRESS, "turn_of_address", self.peer.network)
        else:
            await self.admit(per_minute(self.parts.options.turns_of_session), SESSION_TURN, session)
            await admit_turn(self.parts, self.principal.application)

    async def replay_of(self, last_seq: int, reached: int | None) -> Replay:
        """Return what can be replayed; a page that has not heard of a reset is to read the history again."""
        replay = await super().replay_of(last_seq, reached)
        if self.is_rich and replay.complete:
            anew = await self.parts.store.read(selectors.was_reset_since, self.session.uuid, last_seq)
            return msgspec.structs.replace(replay, complete=not anew)
        return replay

    def resumed(self, replay: Replay) -> Frame:
        """Return the frame that goes before what is replayed."""
        return Frame(serialise(Resumed(replay.complete, replay.last_seq)))

    async def teller(self, after_seq: int, until_seq: int) -> Teller:
        """Return what makes the frames of a replay; it renders no more than a replay may cost."""
        if not self.is_rich:
            return self.tell_again
        among = self.session.uuid, after_seq, until_seq
        return retell(await self.parts.store.read(selectors.newest_within, *among, RENDERED_AGAIN))

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error in this wire's shape, to a page in its language."""
        chinese = self.is_rich and language_of(self.peer) == "zh-hans"
        return Frame(serialise(Error(fault.message_zh if chinese else fault.message, fault.retry_after)))
