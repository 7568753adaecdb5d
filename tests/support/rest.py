"""REST calls of the pipeline wire, over plain HTTP."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

from tests.support.clients import DEFAULT_PIPELINE
from tests.support.server import GatewayProcess


def call(
    server: GatewayProcess | str, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Return status and JSON of a call; `path` begins below `/api/v1/pipelines`. Bytes are sent as they are."""
    base = server if isinstance(server, str) else server.url
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  an address of ours
        f"{base}/api/v1/pipelines{path}",
        data=data,
        method=method,
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as response:  # noqa: S310
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else text.decode()


async def acall(server: GatewayProcess | str, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    """Do the same without holding the test's loop."""
    return await asyncio.to_thread(call, server, method, path, body, **more)


def below(rest: str, pipeline: str = DEFAULT_PIPELINE) -> str:
    """Return a path of the default pipeline's socket calls."""
    return f"/{pipeline}/ws/{rest}"


def history(server: GatewayProcess | str, session_type: str = "person", query: str = "") -> list[dict[str, Any]]:
    """Return the messages of the history call."""
    status, answer = call(server, "GET", below(f"messages/{session_type}{query}"))
    assert status == 200, answer
    messages: list[dict[str, Any]] = answer["data"]["messages"]
    return messages
