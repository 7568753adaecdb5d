"""A socket in one session, on a real server."""

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient, is_final, is_type

NOWHERE = 99  # a `last_seq` beyond the session's end


async def test_a_resume_that_replays_nothing_costs_nothing_that_was_on_its_way(start_gateway: GatewayFactory) -> None:
    async with await PipelineClient.connect(start_gateway()) as client:
        await client.send({"type": "resume", "last_seq": 0})
        await client.until(is_type("resumed"))
        # The second waits for its time, and the answer comes meanwhile.
        await client.send({"type": "resume", "last_seq": NOWHERE})
        await client.say("What can you do?")
        frames = await client.until(is_final)
        resumed = next(frame for frame in frames if frame["type"] == "resumed")
        assert not resumed["resumed"]
        assert [frame["data"]["seq"] for frame in frames if frame.get("data", {}).get("seq")] == [1, 2]
