"""Pings a gateway on the wires that have a ping, and prints how long each took: a process of its own, for its clock.

usage: python -m tests.faults.pinging WS_URL SECONDS
"""

import asyncio
import json
import sys
import time

import uvloop

from tests.support.clients import PipelineClient, SocketClient
from tests.support.contact import ContactClient
from tests.support.wechat import WeChatClient

APART = 0.01  # seconds between two pings of one socket


async def ping(client: SocketClient, until: float) -> list[float]:
    """Ping until then; return the seconds that each took."""
    took = []
    while (began := time.perf_counter()) < until:
        await client.ping()
        took.append(time.perf_counter() - began)
        await asyncio.sleep(APART)
    return took


async def main(url: str, seconds: float) -> None:
    """Ping on each wire for so many seconds."""
    async with (
        await PipelineClient.connect(url) as pipeline,
        await ContactClient.connect(url) as contact,
        await WeChatClient.open(url) as wechat,
    ):
        until = time.perf_counter() + seconds
        took = await asyncio.gather(*(ping(client, until) for client in (pipeline, contact, wechat)))
    print(json.dumps([each for wire in took for each in wire]))  # noqa: T201  a program that prints


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2])))
