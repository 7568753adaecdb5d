"""The floor: a bare picows server that greets, answers a ping, and hands anything else to every socket.

What the machine itself can do at this moment, measured with the same load beside the gateway: ratios to it hold when
the machine drifts. usage: python -m tests.benchmarks.floor PORT
"""

import asyncio
import sys
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from tests.benchmarks.load import PING

PONG = b'{"type":"pong","timestamp":"2026-01-01T00:00:00.000+00:00"}'
NOTICE = b'{"type":"broadcast","message":"A notice of ordinary length.","timestamp":"2026-01-01T00:00:00.000+00:00"}'


class Bare(WSListener):
    """One socket of the floor."""

    def __init__(self, everybody: set[WSTransport]) -> None:
        self._everybody = everybody

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._everybody.add(transport)
        transport.send(WSMsgType.TEXT, b'{"type":"connected"}')

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._everybody.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
        elif frame.get_payload_as_bytes() == PING:
            transport.send(WSMsgType.TEXT, PONG)
        else:
            for peer in self._everybody:
                peer.send(WSMsgType.TEXT, NOTICE)


async def serve(port: int) -> None:
    """Serve until killed."""
    everybody: set[WSTransport] = set()

    def listen(_request: WSUpgradeRequest) -> Any:
        return Bare(everybody)

    server = await ws_create_server(listen, "127.0.0.1", port)
    async with server:
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
