"""The contact wire's socket: frame → service → frames."""

import asyncio
from typing import Any, assert_never
from uuid import UUID, uuid4

from django.utils import timezone

from connections.hub import Encoder, Member, Membership, Topic
from connections.limits import per_hour, per_minute
from conversations.escalation import asks_for_owner
from conversations.selectors import Replay
from conversations.store import OutcomeUnknown
from conversations.types import (
    Accepted,
    Broadcast,
    Event,
    MessageStored,
    PipelineTopic,
    Question,
    ReplyDelta,
    Role,
    SessionKey,
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
    serialise,
    stamp,
)
from integrations.contact.translate import Receiver, components, contact_received
from integrations.errors import NOT_ALLOWED, Fault, Limited, WireError
from integrations.outbound import Frame
from integrations.sessions import SessionConsumer

MESSAGES = per_minute(60)  # of one visitor
REQUESTS = per_hour(5)  # for the owner, of one visitor
REQUESTS_OF_ADDRESS = per_hour(60)
GREETING = "WebSocket连接已建立"
NO_SUCH_SESSION = "会话不存在或恢复令牌无效"


class ContactConsumer(SessionConsumer):
    """One visitor."""

    wire = "contact"
    small_frames = True
    receiver: Receiver

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._in_order = asyncio.Lock()  # what one visitor says is stored in the order in which it came
        self._acknowledged: set[int] = set()

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
        self.receiver = Receiver(key.uuid, stream=self.peer.query.get("stream", "") in {"1", "true"})
        membership = self.enter(key)
        everybody = self.join(PipelineTopic(self.pipeline.uuid, "person"), _as_it_is)
        await self.register(
            principal=self.principal, pipeline=self.pipeline.uuid, session=key.uuid, session_type="person"
        )
        last_seq = await self.last_seq() if known else 0
        self._send(Established(GREETING, str(key.uuid), _now(), resume.issue(key)))
        everybody.go_live()
        if token and self.principal.kind == "application":
            self.spawn(self.watch_credential(token))
        wanted = self.peer.query.get("last_seq", "")
        if known and wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
            self.receiver.resumed = True
            self.spawn(self.replay(int(wanted)))
        else:
            membership.go_live(last_seq)

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

    def join(self, topic: Topic, encode: Encoder, member: Member | None = None) -> Membership:
        """Become a member of `topic` by way of `_Listener`."""
        return super().join(topic, _as_it_is, member or _Listener(self))

    # --- Talking ---------------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Ping():
                self._send(Pong(_now()))
            case ChatMessage():
                self.spawn(self._chat(frame))
            case ContactRequest():
                self.spawn(self._contact(frame))
            case Resume():
                self.spawn(self._resume(frame))
            case _:
                assert_never(frame)

    async def _chat(self, frame: ChatMessage) -> None:
        async with self._in_order:
            await self.admit(MESSAGES, "message", str(self.session.uuid))
            contact = await self._escalation(frame.message)
            self.ask(
                Question(
                    session=self.session,
                    wire=self.wire,
                    text=frame.message,
                    components=components(frame.message, frame.timestamp),
                    connection_id=self.connection_id,
                    application=self.principal.application,
                    stream=True,
                    contact=contact,
                    escalated=contact is not None,
                    user_agent=self.peer.user_agent if contact else "",
                )
            )

    async def _contact(self, frame: ContactRequest) -> None:
        async with self._in_order:
            await self._admit_request()
            request = uuid4()
            self.ask(
                Question(
                    session=self.session,
                    wire=self.wire,
                    text=frame.message,
                    components=components(frame.message, frame.timestamp),
                    connection_id=self.connection_id,
                    client_msg_id=str(request),
                    application=self.principal.application,
                    wants_answer=False,
                    contact=request,
                    user_agent=frame.user_agent or self.peer.user_agent,
                )
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
        await self.admit(REQUESTS, "request", str(self.session.uuid))
        await self.admit(REQUESTS_OF_ADDRESS, "request_of_address", self.peer.address)

    async def _resume(self, frame: Resume) -> None:
        if self.replaying:
            raise WireError("A resume is going on already", zh="正在恢复会话，请稍候")
        key = self._key(frame.client_id, frame.resume_token)
        if key is None:
            raise WireError(NO_SUCH_SESSION)
        if key != self.session:
            self.enter(key)
            self.receiver = Receiver(key.uuid, stream=self.receiver.stream)
        self.receiver.resumed = True
        await self.replay(frame.last_seq)

    def accepted(self, question: Question, accepted: Accepted) -> None:
        """Acknowledge what a resume has told already, and tell a visitor who asked for the owner that he was told."""
        self._acknowledge(accepted.message)
        if question.escalated and question.contact is not None:
            self._send(contact_received(accepted.message, str(question.contact)))

    def failed(self, question: Question, error: Exception) -> None:
        """Tell that `question` was not taken."""
        if isinstance(error, OutcomeUnknown):  # its words speak of an id, which this wire's messages have not
            text = "暂时无法确认消息是否已保存，请稍后恢复会话查看。"
            error = WireError(text, retry_after=5)
        self.fail(error)

    # --- Being told ------------------------------------------------------------------------------

    def tell(self, event: Event) -> Frame | None:
        """Return the frame that tells this socket of an event; its own visitor's words are acknowledged."""
        match event:
            case MessageStored(message=message):
                if message.role is not Role.USER:
                    return _frame(self.receiver.said(message))
                if message.connection_id == self.connection_id:
                    self._acknowledge(message)
                return None
            case ReplyDelta():
                increment = self.receiver.increment(event)
                return _frame(increment) if increment else None
            case Broadcast():
                return _frame(Announcement(event.message, stamp(event.timestamp)))
            case StopRequested():
                return None
            case _:
                assert_never(event)

    def tell_again(self, message: StoredMessage) -> Frame:
        """Return the frame of a stored message that is replayed, the visitor's own included."""
        return _frame(self.receiver.said(message))

    def resumed(self, replay: Replay) -> Frame:
        """Return the frame that goes before what is replayed."""
        return _frame(Resumed(replay.complete, str(self.session.uuid), replay.last_seq, _now()))

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error in this wire's shape."""
        error = Error(fault.message_zh, _now())
        return _frame(error if fault.retry_after is None else Error(error.message, error.timestamp, fault.retry_after))

    def _acknowledge(self, message: StoredMessage) -> None:
        """Acknowledge a message once, whichever comes first: the event, or word that it was accepted.

        The event is left out where a resume told the message meanwhile; it comes first where an answer follows.
        """
        if message.id in self._acknowledged:
            self._acknowledged.remove(message.id)
        else:
            self._acknowledged.add(message.id)
            self._send(self.receiver.acknowledged(message))

    def _send(self, frame: ServerFrame) -> None:
        self.push(_frame(frame))


class _Listener:
    """A member of a topic that turns each event into a frame when it is due, and only then.

    An increment depends on what the socket was told before; the hub's encoders are called for events that wait, too.
    """

    def __init__(self, consumer: ContactConsumer) -> None:
        self._consumer = consumer

    def push(self, event: Event) -> None:
        if frame := self._consumer.tell(event):
            self._consumer.push(frame)

    def lost(self) -> None:
        self._consumer.outbound.lost()


def _as_it_is(event: Event) -> Event:
    return event


def _frame(frame: ServerFrame) -> Frame:
    return Frame(serialise(frame))


def _now() -> str:
    return stamp(timezone.now())
