"""The contact wire's socket: frame → service → frames."""

from typing import assert_never
from uuid import UUID, uuid4

from django.utils import timezone

from conversations.escalation import asks_for_owner
from conversations.selectors import Replay
from conversations.types import (
    Broadcast,
    Event,
    MessageStored,
    PipelineTopic,
    Question,
    ReplyDelta,
    Role,
    SessionKey,
    SessionReset,
    StopRequested,
    StoredMessage,
)
from integrations import resume
from integrations.access import admitted, identify, pipeline_of
from integrations.contact.protocol import (
    Announcement,
    ChatMessage,
    ContactRequest,
    Error,
    Established,
    Ping,
    Pong,
    Resume,
    Resumed,
    ServerFrame,
    parse,
    place,
    serialise,
    stamp,
)
from integrations.contact.translate import Receiver, components
from integrations.errors import NOT_ALLOWED, Fault, Limited, WireError
from integrations.limiting import (
    CONTACTS_OF_ADDRESS,
    CONTACTS_OF_VISITOR,
    SESSION_TURN,
    TURNS_OF_ADDRESS,
    TURNS_OF_VISITOR,
    admit_turn,
)
from integrations.outbound import Frame
from integrations.strict import ProtocolError
from integrations.visitors import VisitorConsumer

GREETING = "WebSocket连接已建立"
NO_SUCH_SESSION = "会话不存在或恢复令牌无效"


class ContactConsumer(VisitorConsumer):
    """One visitor."""

    wire = "contact"
    small_frames = True
    receiver: Receiver

    # --- Opening ---------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Check credential, pipeline and session, in this order, then greet and go live."""
        catalogue = self.parts.catalogue
        token = self.peer.token
        self.principal = admitted(await identify(self.parts, self.peer, token, catalogue.default()), self.wire)
        self.pipeline = pipeline_of(self.parts, self.principal)
        known = "client_id" in self.peer.query
        key = self._key(**self._claimed()) if known else SessionKey(uuid4(), self.pipeline.uuid, "person")
        if key is None:
            raise WireError(NO_SUCH_SESSION, close_code=NOT_ALLOWED)
        self.receiver = Receiver(
            key.uuid,
            stream=self.peer.query.get("stream", "") in {"1", "true"},
            public_url=self.parts.options.public_url,
        )
        membership = self.enter(key)
        everybody = self.join(PipelineTopic(self.pipeline.uuid, "person"), self.tell)
        await self.register(
            principal=self.principal,
            pipeline=self.pipeline.uuid,
            session=key.uuid,
            session_type="person",
            client=_visitor(key),
        )
        last_seq = await self.last_seq() if known else 0
        self._send(Established(GREETING, str(key.uuid), _now(), resume.issue(key)))
        everybody.go_live()
        if token and self.principal.kind == "application":
            self.spawn(self.watch_credential(token))
        wanted = self._wanted()
        if known and wanted is not None:
            self.receiver.resumed = True
            self.in_turn(self.replay, wanted)
        else:
            membership.go_live(last_seq)

    def _wanted(self) -> int | None:
        """Return the `last_seq` of the query, None where there is none; one that is no number is told."""
        try:
            return place(self.peer.query.get("last_seq", ""))
        except ProtocolError as error:
            self.fail(error)
            return None

    def _claimed(self) -> dict[str, str]:
        query = self.peer.query
        return {"client_id": query["client_id"], "token": query.get("resume_token", "")}

    def _key(self, client_id: str, token: str) -> SessionKey | None:
        """Return the session that a resume token opens, None where it opens none, whether there is one or not."""
        try:
            key = SessionKey(UUID(client_id), self.pipeline.uuid, "person")
        except ValueError:
            return None
        return key if resume.is_valid(token, key) else None

    # --- Talking ---------------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Ping():
                self._send(Pong(_now()))
            case ChatMessage():
                self.in_turn(self._chat, frame)
            case ContactRequest():
                self.in_turn(self._contact, frame)
            case Resume():
                self.in_turn(self._resume, frame)
            case _:
                assert_never(frame)

    async def _chat(self, frame: ChatMessage) -> None:
        await self.admit(TURNS_OF_VISITOR, SESSION_TURN, str(self.session.uuid))
        await self.admit(TURNS_OF_ADDRESS, "turn_of_address", self.peer.network)
        await admit_turn(self.parts, self.principal.application)
        contact = await self._escalation(frame.message)
        self.ask(self._question(frame, contact))

    async def _contact(self, frame: ContactRequest) -> None:
        await self._admit_request()
        self.ask(self._question(frame, uuid4()))

    def _question(self, frame: ChatMessage | ContactRequest, contact: UUID | None) -> Question:
        """Return what a frame says as a question; `contact` is the UUID of the contact request that it opens."""
        is_chat = isinstance(frame, ChatMessage)
        user_agent = frame.browser if isinstance(frame, ContactRequest) else ""
        return Question(
            session=self.session,
            wire=self.wire,
            text=frame.message,
            components=components(frame.message, frame.claim),
            connection_id=self.connection_id,
            client_msg_id=str(contact) if contact else None,
            application=self.principal.application,
            wants_answer=is_chat,
            contact=contact,
            escalated=is_chat and contact is not None,
            user_agent=(user_agent or self.peer.user_agent) if contact else "",
        )

    async def _escalation(self, text: str) -> UUID | None:
        """Return the UUID of the contact request that a chat message opens, None where it opens none."""
        if not asks_for_owner(text):
            return None
        try:
            await self._admit_request()
        except Limited:  # it is answered all the same
            return None
        return uuid4()

    async def _admit_request(self) -> None:
        await self.admit(CONTACTS_OF_VISITOR, "request", str(self.session.uuid))
        await self.admit(CONTACTS_OF_ADDRESS, "request_of_address", self.peer.network)

    async def _resume(self, frame: Resume) -> None:
        key = self._key(frame.client_id, frame.resume_token)
        if key is None:
            raise WireError(NO_SUCH_SESSION)
        if await self.go_into(key):
            self.receiver = Receiver(key.uuid, stream=self.receiver.stream, public_url=self.receiver.public_url)
            self.rename(_visitor(key), key.uuid)
        self.receiver.resumed = True
        await self.replay(frame.last_seq)

    # --- Being told ------------------------------------------------------------------------------

    def tell(self, event: Event) -> Frame | None:
        """Return the frame that tells this socket of an event; its own visitor's words are acknowledged."""
        match event:
            case MessageStored(message=message):
                if message.role is not Role.USER:
                    return self.tell_again(message)
                if message.connection_id == self.connection_id:
                    self._acknowledge(message)
                return None
            case ReplyDelta():
                increment = self.receiver.increment(event)
                return _frame(increment) if increment else None
            case Broadcast():
                return _frame(Announcement(event.message, stamp(event.timestamp))) if event.is_for(self.wire) else None
            case SessionReset() | StopRequested():
                return None
            case _:
                assert_never(event)

    def tell_again(self, message: StoredMessage) -> Frame:
        """Return the frame of a stored message that is replayed, the visitor's own included."""
        if message.role is Role.ASSISTANT:
            self.owed.answer(message, self.connection_id)
        return _frame(self.receiver.said(message))

    def resumed(self, replay: Replay) -> Frame:
        """Return the frame that goes before what is replayed."""
        return _frame(Resumed(replay.complete, str(self.session.uuid), replay.last_seq, _now()))

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error in this wire's shape."""
        error = Error(fault.message_zh, _now())
        return _frame(error if fault.retry_after is None else Error(error.message, error.timestamp, fault.retry_after))

    def _acknowledge(self, message: StoredMessage) -> None:
        """Acknowledge what this socket's visitor said; where he asked the assistant for the owner, both."""
        self.owed.store(message)
        if not message.request_id or self.owed.is_waiting(message.request_id):
            self._send(self.receiver.chat_received(message))
        if message.request_id:
            self._send(self.receiver.contact_received(message))

    def _send(self, frame: ServerFrame) -> None:
        self.push(_frame(frame))


def _visitor(session: SessionKey) -> str:
    """Return what staff calls the visitor of a session, whose client ID is its UUID."""
    return f"visitor {str(session.uuid)[:8]}"


def _frame(frame: ServerFrame) -> Frame:
    return Frame(serialise(frame))


def _now() -> str:
    return stamp(timezone.now())
