"""What the playground knows of this wire."""

from django.utils.translation import gettext_noop as _

from integrations.playground import ANYTHING, SOMETHING, Call, Field, Panel, Way

PANEL = Panel(
    name=_("易事厅 bot"),
    about=_("One question a call, answered as a stream, as one body, or later."),
    document="易事厅第三方机器人API",
    ways=(
        Way("chat", "POST", "/chat", examples=("chat",), streams=True),
        Way("sync", "POST", "/chat/sync", examples=("chat_sync", "chat_sync_bare")),
        Way("async", "POST", "/chat/async", examples=("chat_async",)),
        Way("later", "GET", "/chat/async/{trace}", (Field("trace", "path"),)),
        Way("health", "GET", "/health"),
    ),
    steps=(
        Call("health", shape={"status": SOMETHING}),
        Call(
            "chat",
            body={
                "user": "test_user",
                "msg_type": "text",
                "content": "你好",
                "msg_id": "test_${id}",
                "session_id": "session_${id}",
            },
            shape={
                "response": ANYTHING,
                "finished": ANYTHING,
                "global_output.answer_success": ANYTHING,
                "global_output.docs": ANYTHING,
            },
            last={"finished": True},
        ),
        Call(
            "sync",
            body={"user": "test_user", "msg_type": "text", "content": "你好"},
            shape={
                "code": 0,
                "err_msg": "",
                "is_async_response": False,
                "is_recall_success": ANYTHING,
                "recall_docs": ANYTHING,
                "msg_type": "text",
                "msg_content": SOMETHING,
                "third_party_trace_id": SOMETHING,
            },
        ),
    ),
)
