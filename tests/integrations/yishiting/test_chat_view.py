"""A streamed answer that fails before its first word leaves nothing behind."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from django.test import AsyncRequestFactory

from connections.auth import Authenticator
from connections.limits import Brake, Limiter, Places
from connections.metrics import Metrics
from connections.registry import LeaseLimits, Registry
from conversations.types import Accepted, Outcome, Question
from integrations.parts import WireOptions
from integrations.yishiting.views import ChatView
from tests.integrations.test_answers import House, accepted
from tests.support.waiting import eventually
from tests.support.yishiting import question

NO_TRACE = 1 << 48  # an answer's id that no trace has room for


class Untraceable(House):
    """A house whose answers cannot be traced; what is to be stored is taken as stored."""

    def ask(self, question: Question) -> "asyncio.Future[Accepted]":
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        future.set_result(accepted(NO_TRACE))
        return future

    def submit(self, job: Any) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


async def test_what_fails_after_the_question_gives_up_answer_and_row(tmp_path: Path) -> None:
    house = Untraceable()
    registry = Registry(cast(Any, house), limits=LeaseLimits(), lock_dir=tmp_path)

    async def ready() -> None: ...

    parts = SimpleNamespace(
        hub=house.hub, store=house, turns=house, registry=registry, ready=ready,
        catalogue=SimpleNamespace(default=lambda: SimpleNamespace(uuid=UUID(int=1))),
        authenticator=Authenticator("open", cast(Any, house.read)),
        limiter=Limiter(Metrics(), enabled=False), places=Places(0), brake=Brake(),
        options=WireOptions(open_access=True, proxied_open_access=False),
    )  # fmt: skip
    request = AsyncRequestFactory().post("/chat", json.dumps(question()), content_type="application/json")
    cast(Any, request).scope["query_string"] = b""  # bytes in ASGI, which the factory makes text
    response = await ChatView.as_view(parts=parts)(request)
    assert response.status_code == 500

    async def has_given_up() -> bool:
        return bool(house.given_up)

    await eventually(has_given_up, timeout=10, what="the end of his moment to come back")
    assert house.given_up == [(NO_TRACE, Outcome.STOPPED)]
    assert registry.live == 0
