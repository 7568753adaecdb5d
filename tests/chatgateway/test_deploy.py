"""The files of docs/deploy/, tried: a real nginx before a real gateway, and systemd's look at the unit."""

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from websockets.asyncio.client import connect

from chatgateway.server import OTHER_DESCRIPTORS
from tests.conftest import Serve
from tests.support.applications import change, make_application
from tests.support.clients import DEFAULT_PIPELINE, SocketClient, is_final
from tests.support.environment import ROOT
from tests.support.files import form
from tests.support.metrics import get
from tests.support.nginx import configured
from tests.support.programs import Program, tool
from tests.support.server import GatewayProcess
from tests.support.tls import self_signed
from tests.support.waiting import free_port, is_listening, wait_until

DEPLOY = ROOT / "docs" / "deploy"
NAME = "chat.example.com"
LOG = "/var/log/nginx/chatgateway.log"


@dataclass(frozen=True)
class Site:
    """A gateway behind nginx, as the world sees it."""

    gateway: GatewayProcess
    plain: int
    port: int
    trust: ssl.SSLContext
    log: Path

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    def get(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Return status and text of a request over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}", data=body, headers={"Host": self.host, **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def configuration(folder: Path, backend: int, plain: int, port: int) -> str:
    """Return docs/deploy/nginx.conf with other ports and another certificate, and nothing else changed."""
    text = (DEPLOY / "nginx.conf").read_text()
    certificates = "/etc/letsencrypt/live/chat.example.com"
    for old, new in {
        "server 127.0.0.1:8000;": f"server 127.0.0.1:{backend};",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        f"{certificates}/fullchain.pem": str(folder / "both.pem"),
        f"{certificates}/privkey.pem": str(folder / "both.pem"),
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert text.count(LOG) == 2  # one a server
    return text.replace(LOG, str(folder / "access.log"))


@pytest.fixture(scope="module")
def site(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The gateway of docs/operations.md behind the nginx of docs/deploy/."""
    command, folder = tool("nginx"), tmp_path_factory.mktemp("nginx")
    plain, port = free_port(), free_port()
    _, trust = self_signed(NAME, folder)
    settings = {
        "ACCESS_MODE": "token", "PUBLIC_URL": f"https://{NAME}:{port}", "TRUSTED_PROXIES": "127.0.0.1",
    }  # fmt: skip
    with serve(**settings) as gateway:
        (folder / "chatgateway.conf").write_text(configuration(folder, gateway.port, plain, port))
        (folder / "nginx.conf").write_text(configured(folder, f"    include {folder}/chatgateway.conf;\n"))
        with Program(
            command, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", folder=folder, name="nginx"
        ) as nginx:
            wait_until(lambda: is_listening(port), timeout=10, what="nginx", detail=lambda: nginx.output)
            yield Site(gateway, plain, port, trust, folder / "access.log")


async def test_a_socket_goes_through_with_the_origin_of_our_own_pages_and_the_client_s_own_address(site: Site) -> None:
    token = make_application(site.gateway).token
    async with connect(
        f"wss://{site.host}/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect?session_type=person",
        host="127.0.0.1",
        port=site.port,
        ssl=site.trust,
        origin=f"https://{site.host}",  # type: ignore[arg-type]  # a NewType of str
        additional_headers={"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.9"},
        proxy=None,
    ) as socket:
        client = SocketClient(socket)
        connection = (await client.recv())["connection_id"].replace("-", "")
        await client.send({"type": "message", "message": [{"type": "Plain", "text": "What does the gateway do?"}]})
        assert len(await client.until(is_final)) > 1
        rows = change(site.gateway, "SELECT address FROM connections_connection WHERE uuid = ?", connection)
        assert rows == [("127.0.0.1",)], "what a client says of himself is not believed"


def test_no_argument_of_an_address_is_logged(site: Site) -> None:
    site.get("/health?token=a-secret")
    wait_until(lambda: '"GET /health HTTP/1.1" 200' in site.log.read_text(), timeout=10, what="a line of the log")
    assert "a-secret" not in site.log.read_text()


def test_an_answer_streams_and_a_body_that_is_too_large_is_refused_in_the_wire_s_own_words(site: Site) -> None:
    headers = {"Authorization": f"Bearer {make_application(site.gateway).token}", "Content-Type": "application/json"}
    question = {"user": "ann", "msg_type": "text", "content": "What does the gateway do?"}
    status, text = site.get("/chat", json.dumps(question).encode(), **headers)
    assert (status, text.count("data:") > 1) == (200, True)
    status, text = site.get("/chat", b" " * 7_500_000, **headers)
    assert status == 413
    assert json.loads(text), "not a page of nginx"


def test_a_file_of_the_largest_size_goes_through(site: Site) -> None:
    headers = {"Authorization": f"Bearer {make_application(site.gateway).token}"}
    headers["Content-Type"] = "multipart/form-data; boundary=frontier"
    for size, expected in ((10 * 1024 * 1024, 200), (10 * 1024 * 1024 + 1, 413)):
        status, text = site.get("/api/v1/files/documents", form(b"x" * size, "a.txt"), **headers)
        assert status == expected
        assert json.loads(text)["code"] == (0 if status == 200 else -1), "not a page of nginx"


def test_metrics_are_not_for_the_world_and_plain_http_leads_to_tls(site: Site) -> None:
    assert site.get("/metrics")[0] == 404
    assert get(site.gateway)[0] == 200
    assert site.get("/readyz")[0] == 200
    assert "csrfmiddlewaretoken" in site.get("/admin/login/")[1]

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    request = urllib.request.Request(f"http://127.0.0.1:{site.plain}/admin/?a=b", headers={"Host": NAME})
    with pytest.raises(urllib.error.HTTPError) as moved:
        urllib.request.build_opener(NoRedirect).open(request, timeout=10)
    with moved.value as answer:
        assert (answer.code, answer.headers["Location"]) == (301, f"https://{NAME}/admin/?a=b")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "chatgateway.service").read_text()
    assert "ExecStart=/opt/chatgateway/.venv/bin/python manage.py serve" in text
    unit = tmp_path / "chatgateway.service"
    unit.write_text(text.replace("/opt/chatgateway", str(ROOT)))  # it looks for the program, too
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    limit = re.search(r"^LimitNOFILE=(\d+)$", text, re.MULTILINE)
    assert limit is not None
    assert int(limit[1]) == settings.MAX_CONNECTIONS + OTHER_DESCRIPTORS
