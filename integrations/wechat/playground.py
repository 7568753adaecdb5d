"""What the playground knows of this wire."""

from django.utils.translation import gettext_noop as _

from integrations.playground import SOMETHING, Call, Connect, Expect, Panel, Send, Unless, Way

PANEL = Panel(
    name=_("WeChat mini program"),
    about=_("Log in with wx.login's code, ask, and be answered over a socket or by calls."),
    document="微信小程序接入说明",
    ways=(
        Way("socket", "WS", "/wechat/ws", examples=("login", "chat")),
        Way("login", "POST", "/wechat/login", body='{"code": "test_code"}'),
        Way("chat", "POST", "/wechat/chat", body='{"query": "你好", "openid": "test_openid", "use_auto_rag": false}'),
        Way("health", "GET", "/wechat/health"),
    ),
    steps=(
        Connect("socket"),
        Expect({"type": "connected", "code": 0, "message": "连接成功"}),
        Send({"type": "login", "code": "test_code"}),
        Expect(
            {"type": "login_response", "code": 0, "message": "登录成功", "data.openid": SOMETHING},
            unless=Unless(
                {"type": "login_response", "code": 500, "message": "微信小程序配置未完成，请联系管理员"},
                _(
                    "WeChat is not set up here, so nobody can log in and the conversation ends here; nothing is broken."
                    " To set it up, set WECHAT_APPID and WECHAT_APP_SECRET to the mini program's"
                    " and restart the gateway."
                ),
            ),
        ),
        Send({"type": "chat", "query": "你好", "use_auto_rag": False}),
        Expect({"type": "chat_processing", "code": 0, "message": "正在处理中..."}),
        Expect({"type": "chat_response", "code": 0, "message": "成功", "data.msg": SOMETHING}),
        Send({"type": "ping"}),
        Expect({"type": "pong", "code": 0}),
        Call("health", shape={"code": 0, "message": "服务正常"}),
        Call(
            "login",
            body={"code": "test_code"},
            shape={"code": 0, "message": "登录成功", "data.openid": SOMETHING},
            keep={"openid": "data.openid"},
        ),
        Call(
            "chat",
            body={"query": "你好", "openid": "${openid}"},
            shape={"code": 0, "message": "成功", "data.msg": SOMETHING, "data.id": SOMETHING},
        ),
    ),
    note=_(
        "Where WeChat is set up, its logins need a code of wx.login: without one the login is refused, as it should be."
    ),
)
