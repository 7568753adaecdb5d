"""What the playground knows of this wire."""

from django.utils.translation import gettext_noop as _

from integrations.playground import SOMETHING, Connect, Expect, Field, Panel, Send, Way

# Names of its own: whoever takes a name that is in use replaces its client, also the one that was connected by hand.
_SERVICE = "/service/playground/weather_${tab}"
_USER = "user_of_the_run_${tab}"
_BY_HAND = "user_${tab}"

PANEL = Panel(
    name=_("PostOffice hub"),
    about=_("Named clients send letters to one another; services and the bot answer them."),
    document="企业级AI聊天机器人接入指南（基于Socket客户端的接入）",
    ways=(
        Way(
            "socket",
            "WS",
            "/",
            (
                Field("clientID", "query", _BY_HAND),
                Field("receipts", "query", "1", ("1",)),
                Field("startTime", "query"),
            ),
            examples=("question_to_the_bot",),
        ),
        Way("token", "GET", "/wecom/token", (Field("appid", "query"), Field("secret", "query"))),
        Way("token by body", "POST", "/wecom/token", body='{"appid": "", "secret": ""}'),
    ),
    steps=(
        Connect("socket", on="service", values={"clientID": _SERVICE, "receipts": ""}),
        Connect("socket", on="user", values={"clientID": _USER, "receipts": ""}),
        Send(
            {
                "from": _USER,
                "to": _SERVICE,
                "subject": "天气查询",
                "content": "北京天气",
                "type": "msg",
                "createTime": "${seconds}",
            },
            on="user",
        ),
        Expect(
            {"from": _USER, "to": _SERVICE, "content": "北京天气", "type": "msg"}, keep={"sender": "from"}, on="service"
        ),
        Send(
            {
                "from": _SERVICE,
                "to": "${sender}",
                "subject": "天气查询结果",
                "content": "北京的天气：晴天，温度25°C",
                "type": "msg",
            },
            on="service",
        ),
        Expect(
            {"from": _SERVICE, "to": _USER, "subject": "天气查询结果", "content": "北京的天气：晴天，温度25°C"},
            on="user",
        ),
        Send({"from": _USER, "to": "AI_CHATBOT", "subject": "提问", "content": "你好", "type": "msg"}, on="user"),
        Expect({"from": "AI_CHATBOT", "to": _USER, "content": SOMETHING, "type": "msg"}, on="user"),
    ),
)
