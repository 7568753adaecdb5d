"""A weather service on the hub: answers what the gateway asks it, whichever wire the question came on.

    pip install websockets
    python weather_service.py

Then switch the pipeline's route "Service on the hub" on in the admin, and ask: 北京天气怎么样？ The weather is made up;
put a real one into `parts_of_answer`. Environment:

    SOCKET_URL   where the hub is             ws://127.0.0.1:8000/
    CLIENT_ID    the name that routes use     /service/zhycit/weather_1
    APPID, SECRET   of an application; a token is fetched with them. Not needed where access is open
    TOKEN_URL    where tokens are             http(s)://<the hub's host>/wecom/token

A question comes as a letter: {"from": "AI_CHATBOT/…", "to": CLIENT_ID, "content": "北京天气？", "type": "msg", …}.
An answer goes to its `from`. Letters of type "partial" are shown as they come; one of type "msg" ends the answer, and
may say all of it again.

A connection that breaks is made anew, after a pause that doubles from 1 to 30 seconds.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

SOCKET_URL = os.environ.get("SOCKET_URL", "ws://127.0.0.1:8000/")
CLIENT_ID = os.environ.get("CLIENT_ID", "/service/zhycit/weather_1")
APPID = os.environ.get("APPID", "")
SECRET = os.environ.get("SECRET", "")
TOKEN_URL = os.environ.get("TOKEN_URL", "")

FIRST_PAUSE = 1.0  # seconds before a connection that broke is made anew
LONGEST_PAUSE = 30.0
STEADY = 10.0  # seconds after which a connection counts as good, and the pause begins anew
REPLACED = 4009  # close code: somebody else has connected under our name
FILLERS = ("请问", "今天", "明天", "现在", "的", "查一下", "查询")

log = logging.getLogger("weather_service")


def parts_of_answer(question: str) -> Iterator[str]:
    """Yield the answer piece by piece, as a real service would get it from elsewhere."""
    city, asked, _ = question.partition("天气")
    if not asked:
        yield "我只知道天气，例如：北京天气。"
        return
    for filler in FILLERS:
        city = city.replace(filler, "")
    yield f"{city.strip() or '本地'}的天气："
    yield "晴天，温度25°C。"


async def answer(socket: ClientConnection, letter: dict[str, Any]) -> None:
    """Answer one question: its pieces as they come, then the whole."""
    said = ""
    for piece in parts_of_answer(letter["content"]):
        said += piece
        await say(socket, letter, "partial", piece)
    await say(socket, letter, "msg", said)


async def say(socket: ClientConnection, letter: dict[str, Any], kind: str, content: str) -> None:
    """Send a letter back to where `letter` came from."""
    reply = {
        "from": CLIENT_ID,
        "to": letter["from"],
        "subject": "天气查询结果",
        "content": content,
        "type": kind,
        "createTime": int(time.time()),
    }
    await socket.send(json.dumps(reply, ensure_ascii=False))


async def serve(socket: ClientConnection) -> None:
    """Answer questions until the connection ends."""
    async for text in socket:
        letter = read(text)
        if letter is not None:
            log.info("a question from %s", letter["from"])
            await answer(socket, letter)


def read(text: str | bytes) -> dict[str, Any] | None:
    """Return a letter that asks something, or None."""
    try:
        letter = json.loads(text)
    except ValueError:
        return None
    asks = (
        isinstance(letter, dict)
        and letter.get("type") == "msg"
        and isinstance(letter.get("content"), str)
        and isinstance(letter.get("from"), str)
    )
    return letter if asks else None


def fetch_token() -> str:
    """Return an access token for APPID and SECRET."""
    url = TOKEN_URL
    if not url:
        parts = urlsplit(SOCKET_URL)
        url = urlunsplit((parts.scheme.replace("ws", "http", 1), parts.netloc, "/wecom/token", "", ""))
    # In the body: a secret in an address ends up in logs.
    body = json.dumps({"appid": APPID, "secret": SECRET}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  the operator's
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return str(json.load(response)["token"])


async def run() -> None:
    """Serve for ever; return only when somebody else has taken our name."""
    pause = FIRST_PAUSE
    while True:
        connected_at = time.monotonic()
        try:
            headers = {}
            if APPID:
                headers["Authorization"] = f"Bearer {await asyncio.to_thread(fetch_token)}"
            address = f"{SOCKET_URL}?{urlencode({'clientID': CLIENT_ID})}"
            async with connect(address, additional_headers=headers) as socket:
                log.info("connected as %s", CLIENT_ID)
                connected_at = time.monotonic()
                await serve(socket)
        except ConnectionClosed as closed:
            log.info("the connection broke: %s", closed)
            if closed.rcvd is not None and closed.rcvd.code == REPLACED:
                return
        except InvalidStatus as refusal:
            log.warning("refused: %s", refusal.response.body.decode(errors="replace").strip() or refusal)
        except (OSError, WebSocketException, ValueError, KeyError) as error:
            log.warning("no connection: %s", error)
        if time.monotonic() - connected_at >= STEADY:
            pause = FIRST_PAUSE
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  spreads load only
        pause = min(2 * pause, LONGEST_PAUSE)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
