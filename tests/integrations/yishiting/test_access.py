"""The wire in token mode: who may ask, who may read an answer, and where it is posted."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import GatewayFactory
from tests.faults.model import WORDS, FakeModel, Mode
from tests.integrations.yishiting.conftest import TokenMaker
from tests.support.applications import make_application
from tests.support.listening import close_listener
from tests.support.server import GatewayProcess, manage
from tests.support.yishiting import Stream, caller, events, question, text_of


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_is_taken_from_the_header_or_the_address(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    token = make_token()
    async with caller(guarded) as client:
        for path, headers in (("/chat", bearer(token)), (f"/chat?token={token}", {})):
            response = await client.post(path, json=question(), headers=headers)
            assert text_of(events(response.content))


@pytest.mark.parametrize("path", ["/chat", "/chat/sync", "/chat/async", "/chat?token=wrong"])
async def test_a_stranger_learns_nothing(guarded: GatewayProcess, path: str) -> None:
    async with caller(guarded) as client:
        for sent in (question(), {"content": ""}):
            response = await client.post(path, json=sent)
            assert (response.status_code, response.json()) == (401, {"code": 1, "err_msg": "未通过身份验证"})


async def test_scopes_and_wires_bound_what_a_token_may_do(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    reader, elsewhere = make_token(scopes="read"), make_token(wires=("langbot",))
    async with caller(guarded) as client:
        for token in (reader, elsewhere):
            response = await client.post("/chat/sync", json=question(), headers=bearer(token))
            assert (response.status_code, response.json()) == (403, {"code": 1, "err_msg": "没有权限"})


async def test_an_answer_is_its_callers_only(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    mine, foreign = bearer(make_token()), bearer(make_token())
    async with caller(guarded) as client:
        trace = (await client.post("/chat/async", json=question(), headers=mine)).json()["third_party_trace_id"]
        assert (await client.get(f"/chat/async/{trace}", headers=mine)).status_code == 200
        theirs = await client.get(f"/chat/async/{trace}", headers=foreign)
        never = await client.get(f"/chat/async/{UUID(int=5)}", headers=mine)
    assert (theirs.status_code, theirs.json()) == (never.status_code, never.json())
    assert theirs.status_code == 404


async def test_the_same_id_of_another_caller_is_another_question(
    guarded: GatewayProcess, make_token: TokenMaker
) -> None:
    mine, foreign = bearer(make_token()), bearer(make_token())
    body = question()
    async with caller(guarded) as client:
        assert (await client.post("/chat/sync", json=body, headers=mine)).status_code == 200
        other = await client.post("/chat/sync", json={**body, "content": "你好"}, headers=foreign)
    assert other.status_code == 200


@dataclass
class Receiver:
    """Takes calls, after it has refused some."""

    refuse: int
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
        self.calls.append((headers, await reader.readexactly(int(headers["content-length"]))))
        status = b"503 Later" if len(self.calls) <= self.refuse else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()
        if len(self.calls) > self.refuse:
            self.taken.set()


@asynccontextmanager
async def receiver(*, refuse: int) -> AsyncIterator[tuple[Receiver, str]]:
    listening = Receiver(refuse)
    server = await asyncio.start_server(listening.answer, "127.0.0.1", 0)
    try:
        yield listening, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/answers"
    finally:
        await close_listener(server)


async def test_the_answer_is_posted_signed_and_again_where_that_failed(
    guarded: GatewayProcess, make_token: TokenMaker
) -> None:
    body = question("怎么接入大语言模型？", msg_id="消息 1")
    async with receiver(refuse=1) as (listening, url), caller(guarded) as client:
        headers = bearer(make_token(callback_url=url))
        taken = (await client.post("/chat/async", json=body, headers=headers)).json()
        async with asyncio.timeout(20):
            await listening.taken.wait()
        answer = (await client.get(f"/chat/async/{taken['third_party_trace_id']}", headers=headers)).json()
    first, (sent, data) = listening.calls
    assert json.loads(data) == {**answer, "msg_id": "消息 1"}
    assert first[1] == data
    assert first[0]["x-gateway-delivery"] == sent["x-gateway-delivery"]
    digest = hmac.new(
        _key(guarded, headers).encode(), sent["x-gateway-timestamp"].encode() + b"." + data, hashlib.sha256
    )
    assert sent["x-gateway-signature"] == f"sha256={digest.hexdigest()}"


async def test_what_was_answered_before_is_posted_too(guarded: GatewayProcess, make_token: TokenMaker) -> None:
    body = question("怎么接入大语言模型？")
    async with receiver(refuse=0) as (listening, url), caller(guarded) as client:
        headers = bearer(make_token(callback_url=url))
        answer = (await client.post("/chat/sync", json=body, headers=headers)).json()
        await client.post("/chat/async", json=body, headers=headers)
        async with asyncio.timeout(20):
            await listening.taken.wait()
    ((_, data),) = listening.calls
    assert json.loads(data) == {**answer, "msg_id": body["msg_id"]}


async def test_over_two_workers_the_answer_is_posted_although_who_asked_first_has_left(
    start_gateway: GatewayFactory, model: FakeModel
) -> None:
    model.mode, model.delay = Mode.SLOW, 0.1
    environment = {"ACCESS_MODE": "token", "ALLOW_PRIVATE_UPSTREAMS": "true"}
    gateway = start_gateway(workers=2, model=model.base_url(), environment=environment)
    before = len(model.calls)
    async with receiver(refuse=0) as (listening, url):
        token = make_application(gateway, callback_url=url).token
        body = question()
        async with Stream(gateway, body, f"/chat?token={token}") as first:
            await first.until(b"tok00")
            traces = set()
            for _ in range(6):  # each on a connection of its own: some at the other worker
                async with caller(gateway) as client:
                    taken = (await client.post("/chat/async", json=body, headers=bearer(token))).json()
                traces.add(taken["third_party_trace_id"])
        async with asyncio.timeout(20):
            await listening.taken.wait()
        async with caller(gateway) as client:
            (trace,) = traces
            answer = (await client.get(f"/chat/async/{trace}", headers=bearer(token))).json()
    ((_, data),) = listening.calls
    assert json.loads(data) == {**answer, "msg_id": body["msg_id"]}
    assert answer["msg_content"] == "".join(WORDS)
    assert len(model.calls) == before + 1


def _key(gateway: GatewayProcess, headers: dict[str, Any]) -> str:
    """Return the application's signing key, as the gateway's own settings give it."""
    digest = hashlib.sha256(headers["Authorization"].removeprefix("Bearer ").encode()).hexdigest()
    code = (
        "from connections.models import AccessToken; from integrations.webhooks import signing_key; "
        f"print('key', signing_key(AccessToken.objects.get(digest='{digest}').application.uuid))"
    )
    printed = manage("shell", "--no-imports", "-c", code, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
    return printed.split()[-1]
