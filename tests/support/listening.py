"""Servers of asyncio in a test's own process, which end without leaving anything behind."""

import asyncio


async def close_listener(server: asyncio.Server) -> None:
    """Take no more connections; whoever was taken in this very moment is served still.

    `Server.close()` alone would lose him: what asyncio has accepted and not yet given to the server is never closed.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener)
    await asyncio.sleep(0)  # the tasks that give them to the server begin
    server.close()
