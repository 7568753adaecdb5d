"""The same echo on the bare server: `python -m uvicorn tests.faults.bare_echo:application`."""

from typing import Any


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Say back every message of a WebSocket, as it came."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
