"""The WeChat wire's socket: frame → service → frames."""

import asyncio
from collections.abc import Callable
from typing import assert_never

from connections.auth import Principal, visitor_of
from connections.limits import per_minute
from conversations.selectors import Replay
from conversations.store import OutcomeUnknown
from conversations.types import (
    Event,
    MessageStored,
    Question,
    ReplyDelta,
    Role,
    StoredMessage,
)
from integrations import admission, resume
from integrations.access import admitted, pipeline_of
from integrations.errors import NOT_AUTHENTICATED, Fault, WireError
from integrations.limiting import SESSION_TURN, TURNS_OF_VISITOR, admit_turn
from integrations.outbound import Frame
from integrations.parts import Parts
from integrations.visitors import VisitorConsumer
from integrations.wechat.accounts import WIRE, Accounts, session_of, shown_name
from integrations.wechat.protocol import (
    Account,
    Chat,
    Failing,
    FieldError,
    Login,
    LoginResponse,
    Ping,
    Reentered,
    Resume,
    ResumeResponse,
    ServerFrame,
    connected,
    is_wechat,
    parse,
    pong,
    processing,
    serialise,
)
from integrations.wechat.translate import answer_frame, delta_frame, failure_frame

LOGINS = per_minute(30)  # of one address
LOG_IN_FIRST = "请先登录"
TOO_MANY_MISSED = "会话已恢复，但错过的消息过多，无法补发"
AHEAD = "会话已恢复，但last_seq超出会话的最后一条消息，无法补发"


class WeChatConsumer(VisitorConsumer):
    """One mini program's socket; it talks once its user has logged in."""

    wire = WIRE
    small_frames = True

    def __init__(self, *, parts: Parts, accounts: Accounts) -> None:
        super().__init__(parts=parts)
        self.accounts = accounts
        self.openid = ""
        self.entered = asyncio.Event()
        self.resumes = False  # whether it is told of every answer of its session, not of its own alone

    # --- Opening ---------------------------------------------------------------------------------

    async def objection(self) -> Fault | None:
        """Return what speaks against the upgrade; a mini program's origin does not."""
        known = is_wechat(self.peer.origin)
        return await admission.objection(self.parts, self.peer, known_origin=known)

    async def opened(self) -> None:
        """Find the pipeline and greet; who speaks shows with the login."""
        token = self.peer.token
        self.principal = await self._caller(token)
        self.pipeline = pipeline_of(self.parts, self.principal)
        await self.register(principal=self.principal, pipeline=self.pipeline.uuid, session=None, session_type="person")
        self._send(connected())
        if token and self.principal.kind == "application":
            self.spawn(self.watch_credential(token))
        if self.accounts.login_timeout is not None:
            self.spawn(self._expect_login(self.accounts.login_timeout))

    async def _caller(self, token: str | None) -> Principal:
        """Return the application whose token was sent, else a visitor: the login is his credential."""
        principal = await self.parts.authenticator.identify(token)
        default = self.parts.catalogue.default()
        if principal is None and token is None and default is not None:
            return visitor_of(default.uuid)
        return admitted(principal, self.wire)

    async def _expect_login(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.entered.wait()
        except TimeoutError:
            raise WireError(LOG_IN_FIRST, close_code=NOT_AUTHENTICATED, status=401) from None

    # --- Acting on frames ------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Ping():
                self._send(pong())
            case Login():
                self.in_turn(self._log_in, frame, _shape("login_response"))
            case Resume():
                self.in_turn(self._resume, frame, _shape("resume_response"))
            case Chat():
                self.in_turn(self._chat, frame, _shape("chat_response", frame.id))
            case _:
                assert_never(frame)

    async def _log_in(self, frame: Login) -> None:
        await self.admit(LOGINS, "login", self.peer.network)
        account = await self.accounts.log_in(frame.code)
        session = session_of(self.pipeline.uuid, account)
        is_another = await self.go_into(session)
        self.resumes = False
        if is_another:
            await self._go_live()
        self._is_entered_by(account.openid)
        token = resume.issue_named(session, WIRE, account.openid)
        data = Account(account.openid, str(session.uuid), token, unionid=account.unionid)
        self._send(LoginResponse(0, "登录成功", data))

    async def _go_live(self) -> None:
        membership = self.membership
        assert membership is not None
        try:
            membership.go_live(await self.last_seq())
        except BaseException:
            self.leave(membership)
            self.membership = None
            raise

    async def _resume(self, frame: Resume) -> None:
        named = self._named(frame.resume_token)
        await self.go_into(named.session)
        self.resumes = True
        self._is_entered_by(named.holder)
        await self.replay(frame.last_seq)

    def _named(self, token: str) -> resume.Named:
        """Return the session and the user that a token names; raise WireError where it is not one of ours."""
        named = resume.open_named(token, WIRE)
        if named is None or named.pipeline != self.pipeline.uuid:
            raise WireError("会话已失效，请重新登录", status=401)
        return named

    def _is_entered_by(self, openid: str) -> None:
        self.openid = openid
        self.rename(shown_name(openid), self.session.uuid)
        self.entered.set()

    async def _chat(self, frame: Chat) -> None:
        await self._consider(frame)
        self.ask(
            Question(
                session=self.session,
                wire=self.wire,
                text=frame.query,
                connection_id=self.connection_id,
                client_msg_id=frame.id,
                application=self.principal.application,
                stream=frame.stream,
                recall=True if frame.use_auto_rag else None,
                needs_end=True,
            )
        )

    async def _consider(self, frame: Chat) -> None:
        """Raise WireError where a question is not taken."""
        if self.membership is None:
            raise WireError(LOG_IN_FIRST, status=401)
        if not frame.query.strip():
            raise WireError("缺少query参数")
        await self.admit(TURNS_OF_VISITOR, SESSION_TURN, str(self.session.uuid))
        await admit_turn(self.parts, self.principal.application)
        await self.accounts.check(frame.query, self.openid)

    # --- Being told ------------------------------------------------------------------------------

    def tell(self, event: Event) -> Frame | None:
        """Return the frame of an event: of this socket's own questions, after a resume of every answer."""
        match event:
            case MessageStored(message=message) if message.role is Role.USER:
                if message.connection_id == self.connection_id and self._is_expected(message):
                    return self._acknowledged(message)
            case MessageStored(message=message):
                if self._is_owed(message) or self.resumes:
                    return self._answer(message)
            case ReplyDelta() if event.reply_to == self.connection_id:
                request_id = self.owed.request_of(event.question_id)
                return Frame(serialise(delta_frame(event, str(self.session.uuid), request_id)), key=event.id)
        return None

    def tell_again(self, message: StoredMessage) -> Frame | None:
        """Return the frame of a stored message: replayed, an answer; asked for twice, the question's too."""
        if message.role is Role.USER:
            return None if self.replaying or not self._is_expected(message) else self._acknowledged(message)
        return self._answer(message) if self._is_owed(message) or self.replaying else None

    def _is_expected(self, question: StoredMessage) -> bool:
        """Tell whether a question is to be acknowledged: one that has its answer was, each time that it was asked."""
        return not question.request_id or self.owed.is_waiting(question.request_id)

    def _acknowledged(self, question: StoredMessage) -> Frame:
        self.owed.store(question)
        return Frame(serialise(processing(question.request_id or None)))

    def _answer(self, message: StoredMessage) -> Frame:
        frame = answer_frame(message, self.parts.options.public_url)
        return Frame(serialise(frame), key=message.id, last=True)

    def _is_owed(self, answer: StoredMessage) -> bool:
        """Note an answer, acknowledging first what it answers; tell whether this socket asked for it."""
        for _ in range(self.owed.unacknowledged(answer)):
            self._send(processing(answer.request_id))
        return self.owed.answer(answer, self.connection_id)

    def resumed(self, replay: Replay) -> Frame:
        """Return the frame that goes before what is replayed."""
        missing = AHEAD if replay.ahead else TOO_MANY_MISSED
        words = "会话已恢复" if replay.complete else missing
        data = Reentered(str(self.session.uuid), resumed=replay.complete, last_seq=replay.last_seq)
        return Frame(serialise(ResumeResponse(0, words, data)))

    def refused(self, question: Question, error: Exception) -> None:
        """Tell that `question` was not taken."""
        self.fail(error, _shape("chat_response", question.client_msg_id))

    def doubted(self, question: Question, error: OutcomeUnknown) -> None:
        """Tell that `question` may not have been taken: in an `error`, since a `chat_response` would be its end."""
        if question.client_msg_id:
            self.fail(error, _shape("error", question.client_msg_id))
        else:
            super().doubted(question, error)

    def fail(self, error: Exception, shape: Callable[[Fault], Frame] | None = None) -> None:
        """Tell the client of `error`; of what is wrong with its frame, in the frame's own response."""
        if isinstance(error, FieldError):
            shape = _shape(error.response, error.request_id)
        super().fail(error, shape)

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error in this wire's shape."""
        return Frame(serialise(failure_frame(fault)))

    def _send(self, frame: ServerFrame) -> None:
        self.push(Frame(serialise(frame)))


def _shape(kind: Failing, request_id: str | None = None) -> Callable[[Fault], Frame]:
    """Return how an error looks in a response of that type."""
    return lambda fault: Frame(serialise(failure_frame(fault, kind, request_id)))
