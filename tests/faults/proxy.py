"""A TCP proxy that cuts, refuses, stalls and throttles what goes through it.

    with FaultyProxy(gateway.port) as proxy:
        client = await PipelineClient.connect(proxy.ws_url)
        proxy.cut()

Its target is a loopback port or the path of a Unix socket, as is what it listens on. It runs in a thread of its own:
its methods may be called from a test's loop, and have taken hold when they return.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

from tests.support.listening import close_listener
from tests.support.waiting import free_port

PATIENCE = 10.0  # seconds for what a test asks of it
PIECE = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of a socket that is closed by a reset


class FaultyProxy:
    """Carries bytes between whoever connects and `target` until it is told otherwise."""

    def __init__(self, target: int | Path, *, listen: Path | None = None) -> None:
        self.port = 0 if listen else free_port()
        self._target = target
        self._listen = listen
        self._rate: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def ws_url(self) -> str:
        """The address for a client of the gateway behind it."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same for calls."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        return len(self._tasks)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection that goes through it; new ones are carried."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Refuse new connections."""
        self._do(self._refuse())

    def accept(self) -> None:
        """Take new connections, again."""
        self._do(self._accept())

    def stall(self) -> None:
        """Carry nothing more, not even an end, and leave new connections unanswered."""
        self._do(self._set_flowing(flowing=False))

    def flow(self) -> None:
        """Carry again, beginning with what was held back."""
        self._do(self._set_flowing(flowing=True))

    def throttle(self, bytes_per_second: float | None) -> None:
        """Carry no more than so much of each connection in each direction; None ends that."""
        self._rate = bytes_per_second

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _accept(self) -> None:
        if self._listen is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        else:
            self._listen.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._connected, self._listen)
            self._listen.chmod(0o777)  # its peer may run as another user

    async def _refuse(self) -> None:
        if self._server is not None:
            await close_listener(self._server)
        if self._listen is not None:
            self._listen.unlink(missing_ok=True)

    async def _set_flowing(self, *, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _cut(self) -> None:
        tasks = set(self._tasks)
        for writer in self._writers:
            peer: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # closed by its own end already
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        await self._refuse()
        while len(asyncio.all_tasks()) > 1:  # a connection that was just taken may not have begun
            await self._cut()
            await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            back, onward = await self._reach()
            self._writers.add(onward)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, onward))
                both.create_task(self._carry(back, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # one side is gone, and with it goes the other; or it was cut
        finally:
            for end in filter(None, (writer, onward)):
                self._writers.discard(end)
                end.transport.abort()
            self._tasks.discard(task)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(PIECE if self._rate is None else max(1, int(self._rate / 10))):
            await self._flowing.wait()
            if self._rate is not None:
                await asyncio.sleep(len(data) / self._rate)
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof():
            writer.write_eof()
