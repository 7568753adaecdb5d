"""What the playground knows of this wire."""

from django.utils.translation import gettext_noop as _

from integrations.playground import SOMETHING, Connect, Expect, Field, Panel, Send, Step, Way

_QUESTIONS = ("你好，这个博客系统是怎么搭建的？", "能介绍一下使用的技术栈吗？", "如何部署到生产环境？")


def _asked(question: str) -> tuple[Step, ...]:
    return (
        Send({"type": "chat_message", "message": question, "timestamp": "${now}"}),
        Expect({"type": "chat_message_received", "message": "消息已收到", "message_id": SOMETHING}),
        Expect({"type": "chat_message", "message": SOMETHING, "sender": "assistant", "timestamp": SOMETHING}),
    )


PANEL = Panel(
    name=_("Blog contact"),
    about=_("A visitor of a site talks to the assistant and calls for the owner."),
    document="WebSocket对话使用指南",
    ways=(
        Way(
            "socket",
            "WS",
            "/contact",
            (
                Field("client_id", "query"),
                Field("resume_token", "query"),
                Field("last_seq", "query"),
                Field("stream", "query", "", ("1",)),
            ),
            examples=("chat_message",),
        ),
    ),
    steps=(
        Connect("socket"),
        Expect({"type": "connection_established", "message": "WebSocket连接已建立", "client_id": SOMETHING}),
        Send(
            {
                "type": "contact_request",
                "message": "你好，我想咨询技术问题",
                "timestamp": "${now}",
                "userAgent": "Playground",
            }
        ),
        Expect({"type": "contact_request_received", "request_id": SOMETHING, "status": "received"}),
        *(step for question in _QUESTIONS for step in _asked(question)),
        Send({"type": "ping"}),
        Expect({"type": "pong", "timestamp": SOMETHING}),
    ),
    note=_("It opens a contact request: the owner is told, as of a visitor's."),
)
