"""What there is to describe: every socket, and the calls that are answered as a stream or later."""

from pathlib import Path
from typing import get_args

import msgspec

from chatgateway.asyncapi.document import Channel, Object, Wire, document
from chatgateway.asyncapi.schemas import Kind, Schema, Types
from chatgateway.live import protocol as live
from integrations import errors
from integrations.contact import protocol as contact
from integrations.examples import load, read
from integrations.langbot import protocol as langbot
from integrations.postoffice import protocol as postoffice
from integrations.wechat import protocol as wechat
from integrations.yishiting import protocol as yishiting

TITLE = "Chat gateway"
PREFIX = "/websocket"  # every socket answers below it too, for proxies that forward it

# What a connection may be closed with, and whether its client should connect again.
CLOSE_CODES = {
    errors.NORMAL: "goodbye, or a bad `session_type`",
    1007: "invalid UTF-8 in a text frame",
    errors.POLICY: "ten refused frames in a minute",
    errors.TOO_BIG: "a frame over the wire's size",
    1011: "a mistake of the gateway's",
    errors.RESTARTING: "the gateway restarts; connect again",
    errors.TRY_LATER: "the database is away; connect again in a moment",
    errors.NOT_AUTHENTICATED: "not authenticated, or no longer",
    errors.NOT_ALLOWED: "not allowed, or no such session",
    errors.NO_SUCH_PIPELINE: "no such pipeline",
    errors.REPLACED: "replaced by a newer connection of the same name",
    errors.TOO_SLOW: "the client reads too slowly",
    errors.TOO_MANY: "over a limit ten times in a minute",
}

DESCRIPTION = """
What travels over the gateway's sockets and streams; its other HTTP calls are in the OpenAPI document at `/api/schema/`.

A frame is one strict JSON object in UTF-8, text or binary: no duplicate keys, no NaN, no NUL, no lone surrogates, at
most 32 levels deep. A client may send members that are not described, and should ignore those that it does not know.
Times are ISO 8601 in UTC with offset unless said otherwise.

In open access (the default on a loopback address) no credential is asked for. Else a token goes into the header
`Authorization`, the query `token` or the subprotocol `bearer.<token>`, which is echoed. A browser's `Origin` must be
allowed; an absent one is.

| close code | meaning |
|---|---|
{codes}

40xx: do not connect again. 41xx: back off first.
"""

TEXT: Schema = {"type": "string"}
TOKEN: Schema = {**TEXT, "description": "The credential, where headers cannot be set."}
PLACE: Schema = {
    **TEXT,
    "pattern": "^[0-9]{1,18}$",
    "description": "Replays what came after this `seq`, then goes live.",
}
HANDSHAKE: dict[str, Schema] = {
    "Authorization": {**TEXT, "description": "`Bearer` and a token."},
    "Origin": {**TEXT, "description": "A browser's: our own or one that is allowed. `null` is refused."},
    "Sec-WebSocket-Protocol": {
        **TEXT,
        "description": "`bearer.<token>`, where neither header nor query can be set; echoed.",
    },
}
SOCKETS = ("sockets", "prefixed")
CREDENTIALS = ("bearer", "token")
SECURITY: Object = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of an application. In open access none is needed.",
    },
    "token": {"type": "httpApiKey", "in": "query", "name": "token", "description": "The same, in the address."},
    "staff": {"type": "httpApiKey", "in": "cookie", "name": "sessionid", "description": "The admin's session."},
}


def describe(version: str) -> Object:
    """Return the document that describes this gateway, wherever it is."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in sorted(CLOSE_CODES.items()))
    return document(
        info={"title": TITLE, "version": version, "description": DESCRIPTION.strip().format(codes=codes)},
        servers=servers(),
        security=SECURITY,
        channels=(_pipeline(), _contact(), *_hub(), _wechat(), *_yishiting(), _staff()),
    )


def servers(host: str = "", *, tls: bool = False) -> Object:
    """Return the servers at a host; without one, those at whatever host the reader fills in."""
    s = "s" if tls else ""
    return {
        "sockets": _server(f"ws{s}", "The gateway's sockets; `wss` behind a proxy that ends TLS.", host),
        "prefixed": {
            **_server(f"ws{s}", "The same sockets behind a proxy that forwards this prefix.", host),
            "pathname": PREFIX,
        },
        "calls": _server(f"http{s}", "The gateway's calls; `https` behind a proxy that ends TLS.", host),
    }


def _server(protocol: str, description: str, host: str) -> Object:
    if host:
        return {"host": host, "protocol": protocol, "description": description}
    open_host = {"default": "127.0.0.1:8000", "description": "`HOST` and `PORT`, or the public name."}
    return {"host": "{host}", "protocol": protocol, "description": description, "variables": {"host": open_host}}


def _pipeline() -> Channel:
    types = Types(get_args(langbot.SentFrame), get_args(langbot.ServerFrame), assumed=langbot.Message)
    return Channel(
        name="pipeline",
        title="The pipeline wire (LangBot)",
        description="""
            Streamed answers, groups, resume. After `connected`, each message is told to everybody in the session as
            `user_message`, which is its acknowledgement, and answered by `response`s under one `id`, cumulative,
            the last of them `is_final`. In token mode the first frame may be `authenticate`, within 10 s.""",
        wire=Wire("langbot", types, load("langbot")),
        address="/api/v1/pipelines/{pipeline_uuid}/ws/connect",
        servers=SOCKETS,
        sent=types.sent,
        told=types.told,
        security=CREDENTIALS,
        parameters={
            "pipeline_uuid": "The pipeline that answers; the default one is 00000000-0000-4000-8000-000000000001."
        },
        query={
            "session_type": {"enum": ["person", "group"], "default": "person"},
            "session_id": {**TEXT, "description": "A group's room, or with `resume_token` the session to re-enter."},
            "resume_token": {
                **TEXT,
                "description": "From the greeting. The subprotocol `resume.<token>`, which is echoed, no log sees.",
            },
            "last_seq": PLACE,
            "rich": {"enum": ["1"], "description": "With `html`, `outcome` and what else the web chat shows."},
            "lang": {**TEXT, "description": "With `rich`: the page's language, `zh-hans` or `en`; else the browser's."},
            "token": TOKEN,
        },
        headers=HANDSHAKE,
    )


def _contact() -> Channel:
    types = Types(get_args(contact.ClientFrame), get_args(contact.ServerFrame), null_is_missing=True)
    return Channel(
        name="contact",
        title="The contact wire",
        description="""
            The window in which visitors of a site talk to the assistant and call for its owner. A `chat_message` is
            acknowledged by `chat_message_received`, then answered; a `contact_request` is acknowledged and passed
            on.""",
        wire=Wire("contact", types, load("contact")),
        address="/contact",
        servers=SOCKETS,
        sent=types.sent,
        told=types.told,
        security=CREDENTIALS,
        query={
            "client_id": {**TEXT, "format": "uuid", "description": "From an earlier greeting: that visitor's session."},
            "resume_token": {**TEXT, "description": "From the same greeting."},
            "last_seq": PLACE,
            "stream": {"enum": ["1", "true"], "description": "Answers also come as `chat_delta` while they grow."},
            "token": TOKEN,
        },
        headers=HANDSHAKE,
    )


def _hub() -> tuple[Channel, Channel]:
    types = Types((postoffice.Sent,), (postoffice.Receipt, postoffice.Answer, postoffice.Delivered))
    hub = Channel(
        name="hub",
        title="The message hub (PostOffice)",
        description="""
            A hub for named clients. A letter goes to everybody in `to` and `cc`, as its sender wrote it, with
            `from` set; who is away gets it later. Letters to `AI_CHATBOT`, `server` or `/pipeline/<uuid>` are
            questions, and their answers are letters. There is no greeting, and no error is told: with `receipts=1`
            each letter gets a receipt. What is wrong with a handshake is its HTTP status: 400 no client ID, 401,
            403 origin, 409 an older connection than the one there is, 503.""",
        wire=Wire("postoffice", types, load("postoffice")),
        address="/",
        servers=SOCKETS,
        sent=types.sent,
        told=types.told,
        security=CREDENTIALS,
        query={
            "clientID": {**TEXT, "maxLength": postoffice.ID_LENGTH, "description": "The client's name; any Unicode."},
            "startTime": {**TEXT, "description": "Whole seconds: which of two connections of one name is newer."},
            "receipts": {"enum": ["1"], "description": "Asks for a receipt for every letter."},
            "token": TOKEN,
        },
        headers={**HANDSHAKE, "Client-ID": {**TEXT, "description": "The client's name, where the query has none."}},
    )
    return hub, msgspec.structs.replace(hub, name="hub_named", title=f"{hub.title}, by name", address="/postoffice/ws")


def _wechat() -> Channel:
    types = Types(get_args(wechat.ClientFrame), get_args(wechat.ServerFrame), null_is_missing=True)
    return Channel(
        name="wechat",
        title="The WeChat wire (mini programs)",
        description="""
            Logs in with what `wx.login` gave, then asks. `chat_processing` acknowledges a question, exactly one
            `chat_response` ends it. In token mode a socket must log in or resume within 30 s.""",
        wire=Wire("wechat", types, load("wechat")),
        address="/wechat/ws",
        servers=SOCKETS,
        sent=types.sent,
        told=types.told,
        security=CREDENTIALS,
        query={"token": TOKEN},
        headers=HANDSHAKE,
    )


def _yishiting() -> tuple[Channel, ...]:
    answers = (yishiting.Delta, yishiting.Answer, yishiting.Pending, yishiting.Failed)
    posted = (yishiting.Callback, yishiting.FailedCallback)
    types = Types((yishiting.StreamedCall, yishiting.WholeCall), (*posted, *answers))
    wire = Wire("yishiting", types, load("yishiting"))

    def call(name: str, title: str, description: str, sent: Kind, *told: Kind) -> Channel:
        return Channel(
            name=f"yishiting_{name}" if name else "yishiting",
            title=title,
            description=description,
            wire=wire,
            address=f"/chat/{name}" if name else "/chat",
            servers=("calls",),
            sent=(sent,),
            told=told,
            security=CREDENTIALS,
            query={"token": TOKEN},
            answers=True,
        )

    return (
        call(
            "",
            "易事厅, as a stream",
            """
            The answer is `text/event-stream`: each event is `event:delta` with one line of `data:`, a `Delta` with
            what the answer has grown by. Exactly one, the last, is `finished`. A refusal is a JSON body with its
            HTTP status.""",
            yishiting.StreamedCall,
            yishiting.Delta,
            yishiting.Failed,
        ),
        call(
            "sync",
            "易事厅, as a whole",
            "The answer is one body.",
            yishiting.WholeCall,
            yishiting.Answer,
            yishiting.Failed,
        ),
        call(
            "async",
            "易事厅, later",
            "The answer is fetched with its trace, or posted to the application's callback URL.",
            yishiting.WholeCall,
            yishiting.Pending,
            yishiting.Failed,
        ),
        Channel(
            name="yishiting_callback",
            title="易事厅, posted",
            description="""
                The application's callback URL, where answers of `/chat/async` are posted, until they are taken.
                Each is signed: `X-Gateway-Signature` is `sha256=` and the HMAC-SHA256 of `X-Gateway-Timestamp`, a
                dot and the body; `X-Gateway-Delivery` is the same in every attempt.""",
            wire=wire,
            address=None,
            servers=(),
            sent=(),
            told=posted,
        ),
    )


def _staff() -> Channel:
    types = Types(get_args(live.PageFrame), get_args(live.GatewayFrame))
    return Channel(
        name="staff",
        title="Staff's open pages",
        description="""
            Tells the admin's pages what of them is out of date, and one conversation word by word. Made for these
            pages alone: the first frame is `open` with the page's own token.""",
        wire=Wire("staff", types, read(Path(live.__file__).parent / "examples")),
        address="/admin/live",
        servers=SOCKETS,
        sent=types.sent,
        told=types.told,
        security=("staff",),
    )
