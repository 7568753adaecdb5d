"""Two workers for all of these tests, and people of staff who are logged in."""

import json
import re
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.support.clients import Frame, SocketClient, dial, is_type
from tests.support.databases import ValkeyServer
from tests.support.environment import QUICK
from tests.support.server import GatewayProcess, Templates, manage

LIST = "/admin/connections/connection/"
# Makes users and their sessions, as logging in does; prints the sessions' keys.
MAKE = """
import json, sys
from django.contrib.auth import login
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

keys = {}
for name, wanted in json.loads(%r).items():
    user = User.objects.create(username=name, is_staff=wanted is not None, is_superuser=wanted == ["all"])
    user.set_unusable_password()
    user.save()
    for permission in wanted or ():
        app, _, codename = permission.partition(".")
        user.user_permissions.add(*Permission.objects.filter(content_type__app_label=app, codename=codename))
    request = HttpRequest()
    request.session = SessionStore()
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    keys[name] = request.session.session_key
print(json.dumps(keys))
"""

MakePeople = Callable[..., dict[str, "Person"]]


class LivePage(SocketClient):
    """The socket of an open page of staff."""

    async def watch(self, *what: str) -> None:
        """Watch, and return once it is told of everything from now on."""
        await self.send({"type": "watch", "what": list(what)})
        for kind in sorted(what):
            assert await self.recv() == {"type": "changed", "what": kind}

    async def until_changed(self, what: str, timeout: float = 15.0) -> None:
        """Wait until it hears of a change; nothing but the change tells it."""
        await self.until(lambda frame: frame == {"type": "changed", "what": what}, timeout)

    async def follow(self, session: str) -> int:
        """Follow a conversation, and return how far it is."""
        await self.send({"type": "follow", "session": session})
        return int((await self.until(is_type("stored")))[-1]["seq"])

    async def refused(self) -> tuple[Frame, int]:
        """Return the last frame before the gateway closes, and its close code."""
        frame = (await self.until(is_type("error")))[-1]
        return frame, await self.closed()


class Person:
    """Somebody of staff in a browser of his own."""

    def __init__(self, gateway: GatewayProcess, key: str) -> None:
        self.gateway = gateway
        self.key = key
        self.headers = {"Origin": gateway.url, "Cookie": f"sessionid={key}"}

    def browser(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.gateway.url, trust_env=False, cookies={"sessionid": self.key}, timeout=30)

    def token(self) -> str:
        """Return the token of a page that he opens."""
        with self.browser() as browser:
            found = re.search(r'<meta name="live-token" content="([^"]+)">', browser.get(LIST).text)
        assert found, "the page has a token"
        return found[1]

    def log_out(self) -> None:
        with self.browser() as browser:
            browser.get(LIST)
            answer = browser.post("/admin/logout/", data={"csrfmiddlewaretoken": browser.cookies["csrftoken"]})
        assert answer.status_code == 200

    async def dial(self, path: str = "/admin/live", **headers: str) -> LivePage:
        """Open a page's socket, without a word yet."""
        return LivePage(await dial(self.gateway, path, headers={**self.headers, **headers}))

    async def open(self, token: str = "", path: str = "/admin/live") -> LivePage:
        """Open a page and its socket."""
        page = await self.dial(path)
        await page.send({"type": "open", "token": token or self.token()})
        assert await page.recv() == {"type": "ready"}
        return page


@pytest.fixture(scope="package")
def gateway(
    templates: Templates, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Two workers, in open mode: staff is asked for a session all the same."""
    folder = tmp_path_factory.mktemp("live")
    environment = {**QUICK, "AUTHENTICATE_TIMEOUT": "2"}
    gateway = GatewayProcess(
        folder, templates.copy_sqlite(folder), redis_url=valkey.url, workers=2, environment=environment
    )
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture(scope="package")
def make_people(gateway: GatewayProcess) -> MakePeople:
    """A function that makes users with these permissions, or None for one who is not of staff, and logs them in."""

    def make(**people: list[str] | None) -> dict[str, Person]:
        printed = manage(
            "shell", "-v", "0", "-c", MAKE % json.dumps(people),
            data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url,
        )  # fmt: skip
        return {name: Person(gateway, key) for name, key in json.loads(printed).items()}

    return make
