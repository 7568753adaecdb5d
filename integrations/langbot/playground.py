"""What the playground knows of this wire."""

from django.utils.translation import gettext_noop as _

from integrations.playground import SOMETHING, Call, Closed, Connect, Expect, Field, Panel, Send, Way

_PIPELINE = Field("pipeline", "path", "${pipeline}")
_OWN_TYPE = Field("session_type", "path", "person", ("person", "group"), own="session_type")
_OWN_TOKEN = Field("resume_token", "query", own="token")
_GROWING = {"type": "response", "data.role": "assistant", "data.is_final": False}

PANEL = Panel(
    name=_("LangBot pipeline"),
    about=_("Streamed chat with a pipeline, one to one or in a group, with history, resume and broadcasts."),
    document="LangBot WebSocket 双向通信系统",
    ways=(
        Way(
            "socket",
            "WS",
            "/api/v1/pipelines/{pipeline}/ws/connect",
            (
                _PIPELINE,
                Field("session_type", "query", "person", ("person", "group")),
                Field("session_id", "query"),
                Field("resume_token", "query"),
                Field("last_seq", "query"),
                Field("rich", "query", "", ("1",)),
                Field("lang", "query", "", ("zh-hans", "en")),
            ),
            examples=("message_plain",),
            greeting=Expect(
                {"type": "connected", "pipeline_uuid": "${pipeline}"},
                keep={"session": "session_id", "token": "resume_token", "session_type": "session_type"},
            ),
        ),
        Way(
            "messages",
            "GET",
            "/api/v1/pipelines/{pipeline}/ws/messages/{session_type}",
            (
                _PIPELINE,
                _OWN_TYPE,
                Field("session_id", "query", own="session"),
                _OWN_TOKEN,
                Field("after_seq", "query"),
                Field("before_seq", "query"),
                Field("limit", "query", "20"),
            ),
        ),
        Way("connections", "GET", "/api/v1/pipelines/{pipeline}/ws/connections", (_PIPELINE,)),
        Way(
            "broadcast",
            "POST",
            "/api/v1/pipelines/{pipeline}/ws/broadcast",
            (_PIPELINE,),
            body='{"message": "这是一条广播消息", "session_type": "person"}',
        ),
        Way(
            "reset",
            "POST",
            "/api/v1/pipelines/{pipeline}/ws/reset/{session_type}",
            (
                _PIPELINE,
                _OWN_TYPE,
                Field(
                    "session_id",
                    "query",
                    own="session",
                    without=_(
                        "Without session_id this resets every session of this type in the pipeline, whoever's it is."
                        " Connect first, and your own is filled in."
                    ),
                ),
                _OWN_TOKEN,
            ),
        ),
        Way("pipelines", "GET", "/api/v1/pipelines"),
    ),
    steps=(
        Connect("socket", values={"session_type": "person"}),
        Expect(
            {"type": "connected", "connection_id": SOMETHING, "pipeline_uuid": "${pipeline}", "session_type": "person"},
            keep={"session": "session_id", "token": "resume_token"},
        ),
        Send({"type": "message", "message": [{"type": "Plain", "text": "你好，这是一条测试消息"}]}),
        Expect({"type": "user_message", "data.role": "user", "data.content": "你好，这是一条测试消息"}),
        Expect(
            {
                "type": "response",
                "data.role": "assistant",
                "data.content": SOMETHING,
                "data.message_chain": SOMETHING,
                "data.is_final": True,
            },
            between=(_GROWING,),
        ),
        Send({"type": "ping"}),
        Expect({"type": "pong", "timestamp": SOMETHING}),
        Call(
            "messages",
            values={"session_type": "person", "session_id": "${session}", "resume_token": "${token}"},
            shape={"code": 0, "msg": "ok", "data.messages.0.role": "user", "data.messages.1.role": "assistant"},
        ),
        Send({"type": "disconnect"}),
        Closed(1000),
    ),
)
