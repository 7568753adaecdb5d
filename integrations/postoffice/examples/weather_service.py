"""A weather service on the hub: answers what the gateway asks it, whichever wire the question came on.

    pip install websockets
    python weather_service.py

Then switch the pipeline's route "Service on the hub" on in the admin, and ask: 北京天气怎么样？ The weather is made up;
put a real one into `parts_of_answer`. `--help` names the options, and the variables of the environment behind them.

A question comes as a letter: {"from": "AI_CHATBOT/…", "to": CLIENT_ID, "content": "北京天气？", "type": "msg", …}.
An answer goes to its `from`. Letters of type "partial" are shown as they come; one of type "msg" ends the answer, and
may say all of it again.

A connection that breaks is made anew, after a pause that doubles from 1 to 30 seconds. Where that cannot help (a token
that is refused, a name that is another's) the service ends with a sentence.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

FIRST_PAUSE = 1.0  # seconds before a connection that broke is made anew
LONGEST_PAUSE = 30.0
STEADY = 10.0  # seconds after which a connection counts as good, and the pause begins anew
REPLACED = 4009  # close code: somebody else has connected under our name
REFUSED = {401, 403, 409}  # statuses with which trying again is useless
DO_NOT_RECONNECT = range(4000, 4100)  # close codes with which it is too
LONGEST_ID = 300  # characters; the hub refuses a longer name
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


@dataclass(frozen=True)
class Options:
    """Where the hub is, and as whom to connect."""

    socket_url: str
    client_id: str
    appid: str
    secret: str
    token_url: str


def options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line and the environment; end with one sentence where a value cannot work."""
    parser = argparse.ArgumentParser(
        prog="weather_service",
        usage="%(prog)s [options]",
        description="Answers questions about the weather on the gateway's hub, until Ctrl+C.",
        epilog="Each option may also be set in the environment: SOCKET_URL, CLIENT_ID, APPID, TOKEN_URL. "
        "The application's SECRET is read from there alone, because a command line is seen by others.",
    )
    env, add = os.environ.get, parser.add_argument
    socket_url = env("SOCKET_URL") or "ws://127.0.0.1:8000/"
    client_id = env("CLIENT_ID") or "/service/zhycit/weather_1"
    token_url = env("TOKEN_URL") or None
    add("--socket-url", type=_address("ws"), default=socket_url, help="where the hub is (default: %(default)s)")
    add("--client-id", type=_client_id, default=client_id, help="the name that the route has (default: %(default)s)")
    add("--appid", default=env("APPID", ""), help="an application, to fetch a token; not where access is open")
    add("--token-url", type=_address("http"), default=token_url, help="default: /wecom/token at the hub's host")
    given, secret = parser.parse_args(arguments), env("SECRET", "")
    if bool(given.appid) != bool(secret):
        parser.error("APPID and SECRET must be set together")
    hub = urlsplit(given.socket_url)
    beside = urlunsplit((hub.scheme.replace("ws", "http", 1), hub.netloc, "/wecom/token", "", ""))
    return Options(given.socket_url, given.client_id, given.appid, secret, given.token_url or beside)


def _address(scheme: str) -> Callable[[str], str]:
    """Return a check that a text is an address of `scheme`, with TLS or without."""

    def check(text: str) -> str:
        try:
            parts = urlsplit(text)
            known = parts.scheme in {scheme, f"{scheme}s"} and parts.hostname and parts.port != 0
            usable = known and not parts.query and not parts.fragment
        except ValueError:  # the port is no number, or too large
            usable = False
        if not usable:
            raise argparse.ArgumentTypeError(f"{text!r} is no address such as {scheme}://127.0.0.1:8000/")
        return text

    return check


def _client_id(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_ID:
        raise argparse.ArgumentTypeError(f"a name has 1 to {LONGEST_ID} characters")
    return text


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
        "from": letter["to"],
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
            log.info("a question")
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
        and "to" in letter
    )
    return letter if asks else None


def fetch_token(service: Options) -> str:
    """Return an access token for the application."""
    # In the body: a secret in an address ends up in logs.
    body = json.dumps({"appid": service.appid, "secret": service.secret}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(service.token_url, body, headers)  # noqa: S310  the operator's
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return str(json.load(response)["token"])


async def run(service: Options) -> str | None:
    """Serve for as long as that makes sense; return what is wrong, or None where somebody else has taken our name."""
    pause = FIRST_PAUSE
    while True:
        connected_at = time.monotonic()
        try:
            headers = {}
            if service.appid:
                headers["Authorization"] = f"Bearer {await asyncio.to_thread(fetch_token, service)}"
            address = f"{service.socket_url}?{urlencode({'clientID': service.client_id})}"
            async with connect(address, additional_headers=headers) as socket:
                log.info("connected as %s", service.client_id)
                connected_at = time.monotonic()
                await serve(socket)
        except ConnectionClosed as closed:
            log.info("the connection broke: %s", closed)
            code = closed.rcvd.code if closed.rcvd is not None else None
            if code == REPLACED:
                return None
            if code in DO_NOT_RECONNECT:
                return f"The hub no longer takes {service.client_id}: {closed.rcvd}."
        except InvalidStatus as refusal:
            reason = f"{refusal.response.status_code} {refusal.response.body.decode(errors='replace').strip()}".strip()
            if refusal.response.status_code in REFUSED:
                return f"The hub refuses {service.client_id}: {reason}."
            log.warning("refused: %s", reason)
        except urllib.error.HTTPError as refusal:
            if refusal.code in REFUSED:
                return f"There is no token for {service.appid}: {refusal}."
            log.warning("no token: %s", refusal)
        except (OSError, WebSocketException, ValueError, KeyError) as error:
            log.warning("no connection: %s", error)
        if time.monotonic() - connected_at >= STEADY:
            pause = FIRST_PAUSE
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  spreads load only
        pause = min(2 * pause, LONGEST_PAUSE)


if __name__ == "__main__":
    chosen = options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(run(chosen)))
