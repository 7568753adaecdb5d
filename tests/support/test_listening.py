"""A server that is closed leaves no socket open, whoever comes meanwhile."""

import asyncio
import contextlib
import gc
import socket

from tests.support.listening import close_listener

STEPS = 6  # of the loop; within so many whoever knocked is with the server


async def test_who_comes_as_a_server_is_closed_is_not_forgotten() -> None:
    met: list[asyncio.StreamWriter] = []

    async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer)

    for steps in range(STEPS):  # between his coming and the end
        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        with contextlib.closing(socket.create_connection(server.sockets[0].getsockname())):
            for _ in range(steps):
                await asyncio.sleep(0)
            await close_listener(server)
            assert not server.is_serving()
            for _ in range(STEPS):
                await asyncio.sleep(0)
    assert met
    for writer in met:
        writer.transport.abort()
    await asyncio.sleep(0)
    gc.collect()  # a socket that is open still complains now, which fails the test
