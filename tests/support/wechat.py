"""WeChat's servers as a double that speaks HTTP over real sockets, and a client of the gateway's WeChat wire.

    with wechat_in_thread() as wechat:
        start_server(WECHAT_API_BASE=wechat.url, WECHAT_APPID=APPID, WECHAT_APP_SECRET=SECRET)
        wechat.code("c1", openid="o1")
        wechat.script("jscode2session", BUSY, BUSY)   # the next two answers, before what it would say

`wechat.calls` lists what was asked, in order.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.clients import Frame, SocketClient, dial
from tests.support.server import GatewayProcess

APPID = "wx-canary-appid"
SECRET = "canary-app-secret"
SESSION_KEY = "canary-session-key"
BUSY = {"errcode": -1, "errmsg": "system error"}
HANG_UP = b""  # closes without an answer
SILENT = None  # never answers


class WeChat:
    """What WeChat's servers know and said."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], Any]] = []
        self.tokens = 0
        self.url = ""
        self.closing = threading.Event()
        self._users: dict[str, dict[str, str]] = {}
        self._used: set[str] = set()
        self._scripts: dict[str, deque[Any]] = defaultdict(deque)

    def code(self, code: str, **user: str) -> None:
        """Let a code stand for a user, once."""
        self._users[code] = user

    def script(self, call: str, *answers: Any) -> None:
        """Give these answers next: JSON values, bytes as they are, HANG_UP or SILENT."""
        self._scripts[call].extend(answers)

    def named(self, call: str) -> list[tuple[str, dict[str, str], Any]]:
        """Return the calls of that name."""
        return [asked for asked in self.calls if asked[0] == call]

    def answer(self, call: str, query: dict[str, str], body: Any) -> Any:
        """Return what WeChat says to a call."""
        self.calls.append((call, query, body))
        if self._scripts[call]:
            return self._scripts[call].popleft()
        match call:
            case "jscode2session":
                return self._log_in(query)
            case "stable_token":
                self.tokens += 1
                return {"access_token": f"canary-token-{self.tokens}", "expires_in": 7200}
            case "msg_sec_check":
                risky = "违禁" in body["content"]
                return {"errcode": 0, "errmsg": "ok", "result": {"suggest": "risky" if risky else "pass", "label": 100}}
        return {"errcode": 40066, "errmsg": "invalid url"}

    def _log_in(self, query: dict[str, str]) -> Any:
        if query["appid"] != APPID:
            return {"errcode": 40013, "errmsg": "invalid appid, rid: 1-2-3"}
        if query["secret"] != SECRET:
            return {"errcode": 40125, "errmsg": "invalid appsecret, rid: 1-2-3"}
        code = query["js_code"]
        if code in self._used:
            return {"errcode": 40163, "errmsg": "code been used, rid: 1-2-3"}
        if code not in self._users:
            return {"errcode": 40029, "errmsg": "invalid code, rid: 1-2-3"}
        self._used.add(code)
        return {"session_key": SESSION_KEY, **self._users[code]}


@contextmanager
def wechat_in_thread() -> Iterator[WeChat]:
    """Serve a double on a free port of the loopback."""
    wechat = WeChat()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            answer = wechat.answer(parts.path.rsplit("/", 1)[1], query, body)
            if answer is SILENT:
                wechat.closing.wait(60)
                return
            data = answer if isinstance(answer, bytes) else json.dumps(answer, ensure_ascii=False).encode()
            if data == HANG_UP:
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")  # as the real one does
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    wechat.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield wechat
    finally:
        wechat.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class WeChatClient(SocketClient):
    """A mini program's socket. `connected` is its first frame."""

    connected: Frame
    account: Frame

    @classmethod
    async def open(
        cls, server: GatewayProcess | str, *, login: str = "", headers: dict[str, str] | None = None
    ) -> Self:
        """Connect, read the greeting, and log in with the code `login` if given."""
        client = cls(await dial(server, "/wechat/ws", headers=headers))
        client.connected = await client.recv()
        if login:
            assert (await client.log_in(login))["code"] == 0
        return client

    async def log_in(self, code: str) -> Frame:
        """Log in, and return the response."""
        await self.send({"type": "login", "code": code})
        response = await self.recv()
        self.account = response["data"] or {}
        return response

    @property
    def session_id(self) -> str:
        """The session of whoever has logged in."""
        return str(self.account["session_id"])

    @property
    def resume_token(self) -> str:
        """What re-enters that session from another socket."""
        return str(self.account["resume_token"])

    async def chat(self, query: str, **fields: Any) -> list[Frame]:
        """Ask, and return the frames up to the answer."""
        await self.send({"type": "chat", "query": query, **fields})
        return await self.until(lambda frame: frame["type"] == "chat_response", 60)

    async def resume(self, token: str, last_seq: int = 0) -> Frame:
        """Re-enter a session, and return the response."""
        await self.send({"type": "resume", "resume_token": token, "last_seq": last_seq})
        return await self.recv()
