"""A client of the pipeline wire that behaves as LangBot's dashboard does; of what we add it knows nothing."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.clients import DEFAULT_PIPELINE, PATIENCE, Frame, dial
from tests.support.files import sent
from tests.support.rest import acall, below
from tests.support.server import GatewayProcess

RECONNECTS = 5
WORKSPACE = "5f0e8f4e-7f5c-4e43-9d4f-2a6c6b1f0001"
Component = dict[str, Any]


class Dashboard:
    """One open debug page of a pipeline; a `with` block opens and closes it.

    `messages` is its list as it stands on the screen: a message takes the place of the one with its `id`, a new one is
    put at the end. `dropped` is what was not for its session type.
    It waits `step` × n seconds before the nth attempt to reconnect, and pings every `ping_every`; LangBot's own do so
    every 30 s, 3 s apart.
    """

    def __init__(
        self,
        gateway: GatewayProcess,
        session_type: str = "person",
        *,
        token: str = "",
        step: float = 1.0,
        ping_every: float = 0.2,
    ) -> None:
        self.messages: list[Frame] = []
        self.dropped: list[Frame] = []
        self.broadcasts: list[Frame] = []
        self.errors: list[str] = []
        self.pongs = 0
        self.connections: list[str] = []  # by the ids of its greetings
        self.is_connected = False
        self.has_given_up = False
        self._gateway = gateway
        self._session_type = session_type
        self._token = token
        self._step = step
        self._ping_every = ping_every
        self._attempt = 0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        await self.until(lambda: self.is_connected, "the greeting")
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    # --- What its user does ----------------------------------------------------------------------

    async def say(self, *components: Component) -> None:
        """Send a message, as its button does: only while connected."""
        assert self.is_connected, f"not connected: {self.errors}"
        await self._send({"type": "message", "message": list(components), "stream": True})

    async def ask(self, *components: Component) -> Frame:
        """Send a message and return the answer, once it is whole."""
        known = {message["id"] for message in self.messages}
        await self.say(*components)
        answers: list[Frame] = await self.until(lambda: self._finished(known), "an answer")
        return answers[-1]

    def _finished(self, known: set[int]) -> list[Frame]:
        answers = [message for message in self.messages if message["role"] == "assistant"]
        return [message for message in answers if message["id"] not in known and message["is_final"]]

    async def attach(self, content: bytes, name: str) -> Component:
        """Upload a picture and return what attaches it."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data = await asyncio.to_thread(sent, self._gateway, "images", content, name, headers=headers)
        return {"type": "Image", "path": data["file_key"]}

    async def load_history(self) -> None:
        """Put what the gateway has in the place of the list."""
        self.messages = (await self.call("GET", f"messages/{self._session_type}"))["messages"]

    async def reset(self) -> None:
        """Begin anew, with an empty list."""
        done = await self.call("POST", f"reset/{self._session_type}")
        assert done["message"] == "Session reset successfully"
        self.messages = []

    async def call(self, method: str, rest: str, body: Any = None) -> Any:
        """Return the data of a REST call of its pipeline."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        status, answer = await acall(self._gateway, method, below(rest), body, headers=headers)
        assert (status, answer["code"], answer["msg"]) == (200, 0, "ok"), answer
        return answer["data"]

    async def greeted(self, times: int) -> None:
        """Wait for its nth greeting, with time enough for a gateway to start."""
        await self.until(lambda: len(self.connections) == times, f"greeting {times}", timeout=30)

    async def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Return what `condition` gives once that is something; fail after `timeout` seconds, naming `what`."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: condition() or self.has_given_up)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {timeout} s; {self.errors} {self.messages}") from None
        found = condition()
        assert found, f"{what}: it gave up; {self.errors}"
        return found

    # --- Its connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        """Stay connected: after the nth failure in a row wait n steps, and give up after the fifth."""
        while self._attempt <= RECONNECTS:
            with contextlib.suppress(OSError, InvalidHandshake, ConnectionClosed):
                await self._connect()
            await self._note(is_connected=False)
            self._attempt += 1
            await asyncio.sleep(self._attempt * self._step)
        self.has_given_up = True
        await self._note()

    async def _connect(self) -> None:
        path = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect"
        origin = {"Origin": self._gateway.url}
        self._socket = await dial(self._gateway, path, {"session_type": self._session_type}, headers=origin)
        pinging = None
        try:
            await self._send({"type": "authenticate", "token": self._token, "workspace_uuid": WORKSPACE})
            pinging = asyncio.create_task(self._ping(self._socket))
            async for text in self._socket:
                await self._hear(text)
        finally:
            if pinging is not None:
                pinging.cancel()
            await self._socket.close()

    async def _hear(self, text: str | bytes) -> None:
        frame: Frame = json.loads(text)
        match frame["type"]:
            case "connected":
                self._attempt = 0
                self.connections.append(frame["connection_id"])
                await self._note(is_connected=True)
            case "pong":
                self.pongs += 1
            case "error":
                self.errors.append(frame["message"])
                await self._note(is_connected=False)
            case "broadcast":
                self.broadcasts.append(frame)
            case "user_message" | "response" if frame.get("session_type") != self._session_type:
                self.dropped.append(frame)
            case "user_message" | "response":
                self._put(frame["data"])
        await self._note()

    def _put(self, data: Frame) -> None:
        for place, message in enumerate(self.messages):
            if message["id"] == data["id"]:
                self.messages[place] = data
                return
        self.messages.append(data)

    async def _ping(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._ping_every)
            await socket.send('{"type":"ping"}')

    async def _send(self, frame: Frame) -> None:
        await self._socket.send(json.dumps(frame, ensure_ascii=False))

    async def _note(self, *, is_connected: bool | None = None) -> None:
        async with self._changed:
            if is_connected is not None:
                self.is_connected = is_connected
            self._changed.notify_all()
