"""The WeChat wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from typing import Annotated, Any, Literal, TypeGuard, get_args

import msgspec

from integrations.fields import LARGEST_SEQ, Kind, Misfit, fit
from integrations.strict import ProtocolError, decode

NOT_JSON = "消息格式错误，需要JSON格式"
LONGEST_ID = 128
LONGEST_CODE = 512  # WeChat's have 32 characters
LONGEST_OPENID = 128  # WeChat's have 28 characters
NAMED_TYPE = 50  # characters of an unknown type that an error repeats
# Origins that WeChat itself sends, and no page of a browser can have.
MINI_PROGRAM = "https://servicewechat.com"  # WeChat's own host, which serves no pages of others
APP_SCHEME = "weapp://"  # iOS: weapp://wechat-game-runtime and the like

Failing = Literal["error", "login_response", "resume_response", "chat_response"]


class FieldError(ProtocolError):
    """A frame of a known type with something wrong in it; it is told in the frame's own response."""

    def __init__(self, message: str, response: Failing, request_id: str | None) -> None:
        super().__init__(message)
        self.response = response
        self.request_id = request_id


def is_wechat(origin: str | None) -> bool:
    """Tell whether a mini program speaks, by its origin; most send none at all."""
    return origin is not None and (origin == MINI_PROGRAM or origin.startswith(APP_SCHEME))


# --- Client to server --------------------------------------------------------------------------


class LoginCall(msgspec.Struct, frozen=True):
    """Carries what `wx.login` gave; empty where it is missing. The body of an HTTP login call too."""

    code: Annotated[str, msgspec.Meta(max_length=LONGEST_CODE)] = ""


class Login(LoginCall, frozen=True, tag_field="type", tag="login"):
    """Says who speaks, by what `wx.login` gave."""


class Chat(msgspec.Struct, frozen=True, tag_field="type", tag="chat"):
    """A question. `id` makes it idempotent, `stream` asks for what it has grown by, `use_auto_rag` for documents."""

    query: str = ""
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)] | None = None
    use_auto_rag: bool = False
    stream: bool = False


class Resume(msgspec.Struct, frozen=True, tag_field="type", tag="resume"):
    """Re-enters a session, and asks for the answers after `last_seq`."""

    resume_token: str = ""
    last_seq: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_SEQ)] = 0


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """Asks for a pong."""


ClientFrame = Login | Chat | Resume | Ping
_FRAMES: dict[Any, type[ClientFrame]] = {kind.__struct_config__.tag: kind for kind in get_args(ClientFrame)}
_RESPONSES: dict[type[ClientFrame], Failing] = {
    Login: "login_response",
    Resume: "resume_response",
    Chat: "chat_response",
}


class Call(msgspec.Struct, frozen=True):
    """The body of an HTTP chat call; `openid` names an unverified session."""

    query: str = ""
    openid: Annotated[str, msgspec.Meta(max_length=LONGEST_OPENID)] = ""
    use_auto_rag: bool = False


def parse(data: str | bytes) -> ClientFrame:
    """Return the frame in one message; raise ProtocolError, whose text tells the client what is wrong."""
    value = _object(_decoded(data))
    kind = value.get("type")
    if kind == "ping":  # the most frequent one
        return Ping()
    if not isinstance(kind, str):
        raise ProtocolError("缺少type参数")
    frame = _FRAMES.get(kind)
    if frame is None:
        raise ProtocolError(f"未知的消息类型: {kind[:NAMED_TYPE]}")
    try:
        return fit(value, frame, null_is_missing=True)
    except Misfit as misfit:
        named = value.get("id") if frame is Chat else None
        raise FieldError(_words(misfit), _RESPONSES[frame], named if _is_identifier(named) else None) from misfit


def code_of(body: Any) -> str:
    """Return the login code in the body of a call, empty where there is none."""
    return _call(body, LoginCall).code


def call_of(body: Any) -> Call:
    """Return the body of a chat call."""
    return _call(body, Call)


def _call(body: Any, kind: type[Kind]) -> Kind:
    try:
        return fit(_object(body), kind, null_is_missing=True)
    except Misfit as misfit:
        raise ProtocolError(_words(misfit)) from misfit


def _decoded(data: str | bytes) -> Any:
    try:
        return decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    return value


_KINDS = {
    "id": f"必须是1到{LONGEST_ID}个字符的字符串",
    "use_auto_rag": "必须是true或false",
    "stream": "必须是true或false",
    "last_seq": "必须是不小于0的整数",
}


def _words(misfit: Misfit) -> str:
    """Return what is wrong with a field, in the words of the wire."""
    if misfit.longest is not None and misfit.field != "id":
        return f"{misfit.field}不能超过{misfit.longest}个字符"
    return f"{misfit.field}{_KINDS.get(misfit.field, '必须是字符串')}"


def _is_identifier(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID


# --- Server to client --------------------------------------------------------------------------


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who has logged in, and what re-enters the session; `session_token` over HTTP only."""

    openid: str
    session_id: str
    resume_token: str
    unionid: str | None = None
    session_token: str | None = None


class Reentered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The session that was re-entered; `resumed` false where nothing could be replayed."""

    session_id: str
    resumed: bool
    last_seq: int


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An answer, or the part that came of one that failed; `seq` is missing while it grows and over HTTP."""

    msg: str
    id: str
    session_id: str
    seq: int | None = None
    request_id: str | None = None


class Asked(msgspec.Struct, frozen=True):
    """Which question was stored: its `id`."""

    request_id: str


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """What belongs to an error: which question it is about, and the seconds to wait."""

    request_id: str | None = None
    retry_after: int | None = None


class Told(msgspec.Struct, frozen=True, tag_field="type", tag=""):
    """What every frame of ours has; `code` is 0, or like an HTTP status what went wrong."""

    code: int
    message: str


class Connected(Told, frozen=True, tag="connected"):
    """The greeting."""

    data: None = None


class LoginResponse(Told, frozen=True, tag="login_response"):
    """The user has logged in."""

    data: Account


class LoginRefused(Told, frozen=True, tag="login_response"):
    """The user has not logged in."""

    data: Reason | None = None


class ResumeResponse(Told, frozen=True, tag="resume_response"):
    """The session was re-entered."""

    data: Reentered


class ResumeRefused(Told, frozen=True, tag="resume_response"):
    """The session was not re-entered."""

    data: Reason | None = None


class ChatProcessing(Told, frozen=True, tag="chat_processing"):
    """A question was stored; `data` is there where it had an `id`."""

    data: Asked | None = None


class ChatDelta(Told, frozen=True, tag="chat_delta"):
    """An answer so far, cumulative."""

    data: Answer


class ChatResponse(Told, frozen=True, tag="chat_response"):
    """The end of a question; with `code` 500 it failed, and `data.msg` is what was said of its answer."""

    data: Answer


class ChatRefused(Told, frozen=True, tag="chat_response"):
    """The end of a question that was not taken."""

    data: Reason | None = None


class Pong(Told, frozen=True, tag="pong"):
    """The answer to a ping."""

    data: None = None


class Error(Told, frozen=True, tag="error"):
    """What is wrong with the connection or its last frame."""

    data: Reason | None = None


ServerFrame = (
    Connected
    | LoginResponse
    | LoginRefused
    | ResumeResponse
    | ResumeRefused
    | ChatProcessing
    | ChatDelta
    | ChatResponse
    | ChatRefused
    | Pong
    | Error
)
REFUSALS: dict[Failing, type[LoginRefused | ResumeRefused | ChatRefused | Error]] = {
    "login_response": LoginRefused,
    "resume_response": ResumeRefused,
    "chat_response": ChatRefused,
    "error": Error,
}


class Body(msgspec.Struct, frozen=True):
    """Every HTTP answer of ours."""

    code: int
    message: str
    data: Account | Answer | Reason | None = None


def connected() -> Connected:
    """Return the greeting."""
    return Connected(0, "连接成功")


def pong() -> Pong:
    """Return the answer to a ping."""
    return Pong(0, "pong")


def processing(request_id: str | None = None) -> ChatProcessing:
    """Return the acknowledgement of a question, which is stored."""
    return ChatProcessing(0, "正在处理中...", Asked(request_id) if request_id else None)


_encode = msgspec.json.Encoder().encode


def serialise(frame: ServerFrame | Body) -> bytes:
    """Return a frame as JSON."""
    return _encode(frame)
