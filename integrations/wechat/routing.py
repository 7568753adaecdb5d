"""The WeChat wire's socket path."""

from typing import Any

from django.urls import path

from integrations.parts import Parts
from integrations.wechat.accounts import Accounts
from integrations.wechat.consumers import WeChatConsumer


def urlpatterns(parts: Parts, accounts: Accounts) -> list[Any]:
    """Return this wire's socket path, served with `parts`."""
    # Channels routes sockets by Django's `path`, whose types know views only.
    consumer: Any = WeChatConsumer.as_asgi(parts=parts, accounts=accounts)
    return [path("wechat/ws", consumer)]
