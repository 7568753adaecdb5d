"""A socket in one session, on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.clients import PipelineClient, SocketClient, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.server import GatewayProcess
from tests.support.wechat import WeChatClient

NOWHERE = 99  # a `last_seq` beyond the session's end


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that everybody on this machine may use."""
    with serve() as gateway:
        yield gateway


async def test_a_resume_that_replays_nothing_costs_nothing_that_was_on_its_way(gateway: GatewayProcess) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.send({"type": "resume", "last_seq": 0})
        await client.until(is_type("resumed"))
        # The second waits for its time, and the answer comes meanwhile.
        await client.send({"type": "resume", "last_seq": NOWHERE})
        await client.say("What can you do?")
        frames = await client.until(is_final)
        resumed = next(frame for frame in frames if frame["type"] == "resumed")
        assert not resumed["resumed"]
        assert [frame["data"]["seq"] for frame in frames if frame.get("data", {}).get("seq")] == [1, 2]


async def opened(gateway: GatewayProcess, wire: str) -> tuple[SocketClient, dict[str, Any], dict[str, Any]]:
    """Return a socket in a session of its own, a question of that wire, and what re-enters the session."""
    match wire:
        case "contact":
            contact = await ContactClient.connect(gateway)
            return contact, {"type": "chat_message", "message": "What can you do?"}, contact.credentials
        case "wechat":
            wechat = await WeChatClient.open(gateway, login="c")
            return wechat, {"type": "chat", "query": "What can you do?"}, {"resume_token": wechat.resume_token}
        case _:
            question = [{"type": "Plain", "text": "What can you do?"}]
            return await PipelineClient.connect(gateway), {"type": "message", "message": question}, {}


def is_answer(frame: dict[str, Any]) -> bool:
    """Tell whether a frame ends an answer, on any wire."""
    return frame["type"] == "chat_response" or frame.get("sender") == "assistant" or is_final(frame)


@pytest.mark.parametrize("wire", ["contact", "wechat", "langbot"])
async def test_an_answer_that_a_resume_claims_to_have_seen_too_early_is_told(
    gateway: GatewayProcess, wire: str
) -> None:
    client, question, token = await opened(gateway, wire)
    async with client:
        await client.send({"type": "resume", **token, "last_seq": 0})
        await client.recv()
        # The second resume waits for its time, and the answer, which is the second message, comes meanwhile.
        await client.send(question)
        await client.send({"type": "resume", **token, "last_seq": 2})
        frames = await client.until(is_answer)
        assert sum(map(is_answer, frames + await client.recv_after_ping())) == 1
