"""A broadcast from the admin reaches sockets of every worker, in the words of their wires, and nobody else."""

import asyncio

from tests.conftest import GatewayFactory
from tests.support.clients import PipelineClient
from tests.support.contact import ContactClient
from tests.support.staff import Staff
from tests.support.wechat import WeChatClient

PAGE = "/admin/broadcast/"


async def test_it_reaches_whom_it_is_for_on_every_worker(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(database="postgres", workers=2)
    staff = await asyncio.to_thread(Staff, gateway)
    persons = [await PipelineClient.connect(gateway) for _ in range(4)]
    rooms = [await PipelineClient.connect(gateway, "group", session_id="room") for _ in range(2)]
    visitors = [await ContactClient.connect(gateway) for _ in range(4)]
    async with await WeChatClient.open(gateway, login="somebody") as user:
        said = [
            ("to all", "", "", 10), ("to rooms", "group", "", 2), ("to the pipeline wire", "", "langbot", 6),
            ("to visitors", "", "contact", 4),
        ]  # fmt: skip
        for text, session_type, wire, reached in said:
            form = {"text": text, "session_type": session_type, "wire": wire}
            page = await asyncio.to_thread(staff.post, PAGE, **form, step="look")
            assert f"Send to {reached} live connections" in page
            assert f"Sent to {reached} live connections." in await asyncio.to_thread(
                staff.post, PAGE, **form, step="send"
            )
        heard = (
            (persons, ["to all", "to the pipeline wire"]),
            (rooms, ["to all", "to rooms", "to the pipeline wire"]),
            (visitors, ["to all", "to visitors"]),
        )
        for clients, texts in heard:
            for client in clients:
                frames = await client.until(lambda frame: frame["message"] == texts[-1])  # noqa: B023  called at once
                frames += await client.recv_after_ping()
                assert [(frame["type"], frame["message"]) for frame in frames] == [
                    ("broadcast", text) for text in texts
                ]
                await client.close()
        assert await user.recv_after_ping() == []
    staff.close()
