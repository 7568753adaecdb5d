"""The WeChat wire's frames as types, `parse` and `serialise`. Pure. The contract is in this folder's README."""

from typing import Any, Literal, TypeGuard

import msgspec

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
_RESPONSES: dict[str, Failing] = {"login": "login_response", "resume": "resume_response", "chat": "chat_response"}


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


class Login(msgspec.Struct, frozen=True):
    """Carries what `wx.login` gave; empty where it is missing."""

    code: str


class Chat(msgspec.Struct, frozen=True):
    """A question; `query` is empty where it is missing."""

    query: str
    id: str | None = None
    use_auto_rag: bool = False
    stream: bool = False


class Resume(msgspec.Struct, frozen=True):
    """Re-enters a session, and asks for the answers after `last_seq`."""

    resume_token: str
    last_seq: int


class Ping(msgspec.Struct, frozen=True):
    """Asks for a pong."""


ClientFrame = Login | Chat | Resume | Ping


class Call(msgspec.Struct, frozen=True):
    """The body of an HTTP chat call."""

    query: str
    openid: str = ""
    use_auto_rag: bool = False


def parse(data: str | bytes) -> ClientFrame:
    """Return the frame in one message; raise ProtocolError, whose text tells the client what is wrong."""
    value = _object(_decoded(data))
    kind = value.get("type")
    response = _RESPONSES.get(kind) if isinstance(kind, str) else None
    try:
        return _frame(kind, value)
    except ProtocolError as error:
        if response is None:
            raise
        named = value.get("id") if response == "chat_response" else None
        raise FieldError(str(error), response, named if _is_identifier(named) else None) from error


def _frame(kind: object, value: dict[str, Any]) -> ClientFrame:
    match kind:
        case "ping":
            return Ping()
        case "chat":
            return Chat(
                _query(value),
                _identifier(value),
                use_auto_rag=_switch(value, "use_auto_rag"),
                stream=_switch(value, "stream"),
            )
        case "login":
            return Login(code_of(value))
        case "resume":
            return Resume(_text(value, "resume_token"), _place(value))
        case str(unknown):
            raise ProtocolError(f"未知的消息类型: {unknown[:NAMED_TYPE]}")
        case _:
            raise ProtocolError("缺少type参数")


def code_of(body: Any) -> str:
    """Return the login code in a frame or a body, empty where there is none."""
    code = _text(_object(body), "code").strip()
    if len(code) > LONGEST_CODE:
        raise ProtocolError(f"code不能超过{LONGEST_CODE}个字符")
    return code


def call_of(body: Any) -> Call:
    """Return the body of a chat call."""
    value = _object(body)
    openid = _text(value, "openid").strip()
    if len(openid) > LONGEST_OPENID:
        raise ProtocolError(f"openid不能超过{LONGEST_OPENID}个字符")
    return Call(_query(value), openid, use_auto_rag=_switch(value, "use_auto_rag"))


def _decoded(data: str | bytes) -> Any:
    try:
        return decode(data)
    except ProtocolError as error:
        raise ProtocolError(NOT_JSON) from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(NOT_JSON)
    return value


def _text(value: dict[str, Any], name: str) -> str:
    """Return the string under `name`, empty where it is missing or null."""
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ProtocolError(f"{name}必须是字符串")
    return text


def _query(value: dict[str, Any]) -> str:
    query = _text(value, "query")
    return query if query.strip() else ""


def _switch(value: dict[str, Any], name: str) -> bool:
    switch = value.get(name)
    if switch is None or isinstance(switch, bool):
        return bool(switch)
    raise ProtocolError(f"{name}必须是true或false")


def _identifier(value: dict[str, Any]) -> str | None:
    identifier = value.get("id")
    if identifier is None or _is_identifier(identifier):
        return identifier
    raise ProtocolError(f"id必须是1到{LONGEST_ID}个字符的字符串")


def _is_identifier(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID


def _place(value: dict[str, Any]) -> int:
    place = value.get("last_seq", 0)
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < 2**63:
        return place
    raise ProtocolError("last_seq必须是不小于0的整数")


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


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """What belongs to an error: which question it is about, and the seconds to wait."""

    request_id: str | None = None
    retry_after: int | None = None


Data = Account | Reentered | Answer | Reason | None
FrameType = Failing | Literal["connected", "chat_processing", "chat_delta", "pong"]


class ServerFrame(msgspec.Struct, frozen=True):
    """Every frame of ours; `code` is 0, or like an HTTP status what went wrong."""

    type: FrameType
    code: int
    message: str
    data: Data = None


class Body(msgspec.Struct, frozen=True):
    """Every HTTP answer of ours."""

    code: int
    message: str
    data: Data = None


def connected() -> ServerFrame:
    """Return the greeting."""
    return ServerFrame("connected", 0, "连接成功")


def pong() -> ServerFrame:
    """Return the answer to a ping."""
    return ServerFrame("pong", 0, "pong")


def processing(request_id: str | None = None) -> ServerFrame:
    """Return the acknowledgement of a question, which is stored."""
    return ServerFrame("chat_processing", 0, "正在处理中...", Reason(request_id) if request_id else None)


_encode = msgspec.json.Encoder().encode


def serialise(frame: ServerFrame | Body) -> bytes:
    """Return a frame as JSON."""
    return _encode(frame)
