"""The AsyncAPI document over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.conftest import Serve
from tests.support.environment import ROOT
from tests.support.node import node
from tests.support.server import GatewayProcess

FILE = ROOT / "docs" / "asyncapi.yaml"


def test_everybody_gets_the_document_as_yaml_or_json(serve: Serve) -> None:
    with (
        serve(ACCESS_MODE="token") as gateway,
        httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client,
    ):
        served = client.get("/api/asyncapi/")
        assert (served.status_code, served.headers["Content-Type"]) == (200, "application/yaml; charset=utf-8")
        written = FILE.read_text("utf-8")
        assert {**yaml.safe_load(served.text), "servers": None} == {**yaml.safe_load(written), "servers": None}
        shown = client.get("/api/asyncapi/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (shown.text, shown.headers["Content-Type"]) == (served.text, "text/plain; charset=utf-8")
        assert shown.headers["Content-Disposition"] == 'inline; filename="asyncapi.yaml"'
        other = client.get("/api/asyncapi/", params={"format": "json"})
        assert (other.status_code, other.headers["Content-Type"]) == (200, "application/json")
        assert other.json() == yaml.safe_load(served.text)
        assert client.get("/api/asyncapi/", params={"format": "xml"}).status_code == 400
        assert client.post("/api/asyncapi/").status_code == 405


@pytest.fixture(scope="module")
def public(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway with a name, behind a proxy at our address that ends TLS."""
    names = "127.0.0.1,chat.example.com,other.example.com"
    with serve(ACCESS_MODE="token", ALLOWED_HOSTS=names, TRUSTED_PROXIES="127.0.0.1") as gateway:
        yield gateway


def told(gateway: GatewayProcess, form: str = "yaml", **headers: str) -> dict[str, Any]:
    """Return the document's servers as they are told to whoever sends these headers."""
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        answer = client.get("/api/asyncapi/", params={"format": form}, headers=headers)
    assert answer.status_code == 200
    servers: dict[str, Any] = yaml.safe_load(answer.text)["servers"]
    return servers


def places(servers: dict[str, Any]) -> dict[str, str]:
    assert not any("variables" in server for server in servers.values())
    return {
        name: f"{server['protocol']}://{server['host']}{server.get('pathname', '')}" for name, server in servers.items()
    }


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_it_names_the_host_and_the_scheme_that_it_was_asked_under(public: GatewayProcess, form: str) -> None:
    here = f"127.0.0.1:{public.port}"
    assert places(told(public, form)) == {
        "sockets": f"ws://{here}", "prefixed": f"ws://{here}/websocket", "calls": f"http://{here}",
    }  # fmt: skip
    by_tls = {"Host": "chat.example.com:8443", "X-Forwarded-Proto": "https"}
    assert places(told(public, form, **by_tls)) == {
        "sockets": "wss://chat.example.com:8443",
        "prefixed": "wss://chat.example.com:8443/websocket",
        "calls": "https://chat.example.com:8443",
    }
    # Whoever asks next is told of his own.
    assert places(told(public, form, Host="other.example.com"))["sockets"] == "ws://other.example.com"


@pytest.mark.parametrize(("settings", "protocol"), [({}, "ws"), ({"PUBLIC_URL": "https://chat.example.com"}, "wss")])
def test_a_stranger_s_word_for_tls_is_not_believed_and_the_operator_s_is(
    serve: Serve, settings: dict[str, str], protocol: str
) -> None:
    with serve(ACCESS_MODE="token", ALLOWED_HOSTS="127.0.0.1,chat.example.com", **settings) as gateway:
        servers = told(gateway, Host="chat.example.com", **{"X-Forwarded-Proto": "https"})
        assert servers["sockets"]["protocol"] == protocol
        # The public address is by TLS; this one, where nobody ends it, is not.
        assert told(gateway)["sockets"]["protocol"] == "ws"


def test_asyncapi_s_parser_finds_nothing_wrong_with_what_is_served(public: GatewayProcess, tmp_path: Path) -> None:
    file = tmp_path / "served.yaml"
    with httpx2.Client(base_url=public.url, trust_env=False, timeout=30) as client:
        file.write_text(client.get("/api/asyncapi/").text, "utf-8")
    with node("asyncapi.js", file, folder=tmp_path) as program:
        assert program.until("read\n") == "read\n"
