"""A page's scripts and styles are of one version, kept for good; files of another version are never kept."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from django.conf import LazySettings
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory

from chatgateway.assets import ANEW, FOREVER, VersionedAssets, assets_version
from tests.conftest import Serve
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess

FILE = "chatgateway/chat/view.js"
SOURCE = (ROOT / "chatgateway/static" / FILE).read_text()


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with serve() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def named(client: httpx2.Client) -> str:
    """The version that the start page names."""
    version: str
    (version,) = set(re.findall(r'"/static/([0-9a-f]{12})/', client.get("/").text))
    return version


def test_every_file_of_a_page_is_of_one_version_and_kept_for_good(client: httpx2.Client, named: str) -> None:
    for page in ("/", "/playground/", "/admin/login/", "/api/docs/"):
        paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get(page).text)
        assert paths
        for path in paths:
            assert path.startswith(f"/static/{named}/"), page
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("version", ["", "0123456789ab/"])
def test_a_file_of_no_version_or_another_is_the_one_there_is_and_not_kept(client: httpx2.Client, version: str) -> None:
    answer = client.get(f"/static/{version}{FILE}")
    assert (answer.status_code, answer.text) == (200, SOURCE)
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get(f"/static/{version}{FILE}", headers={"If-Modified-Since": answer.headers["Last-Modified"]})
    assert (again.status_code, again.headers["Cache-Control"]) == (304, "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        "{}/chatgateway/nothing.js",
        "{}/",
        "{}/../settings.py",
        "{}/%2e%2e/settings.py",
        "{}//etc/passwd",
        "{0}/{0}/" + FILE,
    ],
)
def test_what_is_no_file_is_not_found_and_that_is_not_kept(client: httpx2.Client, named: str, path: str) -> None:
    answer = client.get(f"/static/{path.format(named)}")
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("Cache-Control", "")


async def test_a_file_that_is_changed_after_the_start_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    file = tmp_path / "view.js"
    file.write_text("old")
    monkeypatch.setattr("chatgateway.assets.finders.find", {"view.js": str(file)}.get)

    async def respond(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("a file")

    async def kept(name: str) -> str:
        request = AsyncRequestFactory().get(f"/static/{settings.ASSETS_VERSION}/{name}")
        return (await assets(request)).headers["Cache-Control"]

    assets = VersionedAssets(respond)
    assert await kept("view.js") == FOREVER
    assert await kept("another.js") == ANEW
    before = file.stat().st_ctime
    while file.stat().st_ctime - before < 0.05:  # a file's clock is a coarse one
        file.write_text("new")
    assert await kept("view.js") == ANEW
    file.rename(tmp_path / "gone.js")
    assert await kept("view.js") == ANEW


def test_a_version_is_of_names_and_bytes_and_packages(tmp_path: Path) -> None:
    def with_files(name: str, **files: str) -> Path:
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return tmp_path / name

    first = with_files("first", a="1", b="2")
    versions = [
        assets_version([first], []),
        assets_version([with_files("renamed", a="1", c="2")], []),
        assets_version([with_files("changed", a="1", b="3")], []),
        assets_version([with_files("moved", a="12", b="")], []),
        assets_version([first], ["django"]),
    ]
    assert len(set(versions)) == len(versions)
    assert assets_version([with_files("copy", b="2", a="1")], []) == versions[0]
