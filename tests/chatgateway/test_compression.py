"""Scripts and styles of our pages travel compressed, and arrive as they are."""

import gzip
from collections.abc import Iterator

import httpx2
import pytest

from tests.conftest import Serve
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess

PATH = "/static/chatgateway/chat/view.js"
SOURCE = (ROOT / "chatgateway" / PATH.lstrip("/")).read_bytes()


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with serve() as gateway:
        yield gateway


def fetch(
    gateway: GatewayProcess, method: str = "GET", path: str = PATH, **headers: str
) -> tuple[httpx2.Response, bytes]:
    """Return an answer, and its body as it travelled."""
    with httpx2.stream(method, gateway.url + path, headers=headers, trust_env=False) as answer:
        return answer, b"".join(answer.iter_raw())


def test_who_takes_it_compressed_gets_it_so(gateway: GatewayProcess) -> None:
    for _ in range(2):  # made, then kept
        answer, body = fetch(gateway, **{"Accept-Encoding": "br, gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert gzip.decompress(body) == SOURCE
        assert len(body) < len(SOURCE) / 2


@pytest.mark.parametrize(
    ("method", "path", "encoding"),
    [
        ("GET", PATH, "identity"),
        ("HEAD", PATH, "gzip"),
        ("GET", "/static/admin/img/search.svg", "gzip"),
        ("GET", "/static/chatgateway/nothing.js", "gzip"),
    ],
)
def test_everything_else_is_as_it_was(gateway: GatewayProcess, method: str, path: str, encoding: str) -> None:
    answer, body = fetch(gateway, method, path, **{"Accept-Encoding": encoding})
    assert "Content-Encoding" not in answer.headers
    if path == PATH:
        assert body == (SOURCE if method == "GET" else b"")
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert int(answer.headers["Content-Length"]) == len(SOURCE)


def test_who_has_it_is_told_so(gateway: GatewayProcess) -> None:
    answer, _ = fetch(gateway, **{"Accept-Encoding": "gzip"})
    again, body = fetch(gateway, **{"Accept-Encoding": "gzip", "If-Modified-Since": answer.headers["Last-Modified"]})
    assert (again.status_code, body) == (304, b"")
