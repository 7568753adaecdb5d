"""Visitors' pages over HTTP: who sees them, in which language, what is beside them, and what other sites may have."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from chatgateway.environment import canonical_origin
from chatgateway.handler import is_page
from chatgateway.urls import handler500
from tests.conftest import Serve
from tests.support.applications import change
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.environment import ROOT
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

CHAT = f"/chat/{DEFAULT_PIPELINE}/"
EMBED = f"/api/v1/embed/{DEFAULT_PIPELINE}"
SHOP = "https://shop.example"
LOADER = ROOT / "chatgateway" / "static" / "chatgateway" / "chat" / "loader.js"


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[httpx2.Client]:
    """A client of a gateway that everybody on this machine may use."""
    with serve() as gateway, client_of(gateway) as client:
        yield client


@pytest.fixture(autouse=True)
def _forgetful(gateway: httpx2.Client) -> None:
    gateway.cookies.clear()  # of the language that another test asked for


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway that wants tokens, and lets one shop's pages in."""
    with serve(ACCESS_MODE="token", ALLOWED_ORIGINS="https://SHOP.example:443/,http://10.0.0.7:8080") as gateway:
        yield gateway


@pytest.fixture
async def public(guarded: GatewayProcess) -> GatewayProcess:
    """That gateway with a public pipeline."""
    change(guarded, "UPDATE conversations_pipeline SET public = 1")

    async def is_known() -> bool:
        with client_of(guarded) as client:
            return client.get(f"{EMBED}/config").status_code == 200

    await eventually(is_known, timeout=10, what="a public pipeline")
    return guarded


def client_of(gateway: GatewayProcess) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30)


def data_of(page: str, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


# --- The chat's page -----------------------------------------------------------------------------


def test_the_chat_s_page_knows_its_pipeline_and_its_words(gateway: httpx2.Client) -> None:
    answer = gateway.get(CHAT, headers={"Accept-Language": "en"})
    assert answer.status_code == 200
    config = data_of(answer.text, "config")
    assert (config["pipeline"], config["language"]) == (DEFAULT_PIPELINE, "en")
    assert config["name"]
    assert data_of(answer.text, "strings")["send"] == "Send"
    assert "style=" not in answer.text
    assert not re.findall(r"<script(?![^>]*(src=|application/json))", answer.text), "scripts are files"


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&amp;\u2028"])
def test_a_pipeline_s_name_is_words(gateway: httpx2.Client, serve: Serve, name: str) -> None:
    with serve() as other, client_of(other) as client:
        change(other, "UPDATE conversations_pipeline SET name = ?, description = ?", name, name)
        page = client.get(CHAT).text
        assert data_of(page, "config")["name"] == name
        assert "alert(1)</script>" not in page
        assert "<img" not in page


@pytest.mark.parametrize(
    ("query", "headers", "language"),
    [
        ("", {}, "en"),
        ("", {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh-Hans"),
        ("", {"Accept-Language": "fr"}, "en"),
        ("?lang=zh-hans", {"Accept-Language": "en"}, "zh-Hans"),
        ("?lang=zh-CN", {}, "zh-Hans"),
        ("?lang=en", {"Accept-Language": "zh-CN"}, "en"),
        ("?lang=tlh", {"Accept-Language": "zh-CN"}, "zh-Hans"),
        (f"?lang={'x' * 5000}", {}, "en"),
        ("?lang=%00", {}, "en"),
        ("", {"Cookie": "django_language=zh-hans"}, "zh-Hans"),
    ],
)
def test_a_page_is_in_the_visitor_s_language(
    gateway: httpx2.Client, query: str, headers: dict[str, str], language: str
) -> None:
    page = gateway.get(CHAT + query, headers=headers).text
    assert f'<html lang="{language}"' in page
    assert data_of(page, "strings")["send"] == ("Send" if language == "en" else "发送")


def test_the_language_that_was_asked_for_is_remembered(gateway: httpx2.Client) -> None:
    cookie = gateway.get(f"{CHAT}?lang=zh-hans").headers["Set-Cookie"]
    assert "django_language=zh-hans" in cookie
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert '<html lang="zh-Hans"' in gateway.get(CHAT).text


def test_the_page_is_read_only(gateway: httpx2.Client) -> None:
    assert gateway.head(CHAT).status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        assert gateway.request(method, CHAT).status_code in (403, 405)
    moved = gateway.get(f"{CHAT.rstrip('/')}?lang=en")
    assert (moved.status_code, moved.headers["Location"]) == (302, f"{CHAT}?lang=en")


def test_a_strange_host_gets_no_page(gateway: httpx2.Client) -> None:
    assert gateway.get(CHAT, headers={"Host": "evil.example"}).status_code == 400


def test_no_pipeline_no_page(gateway: httpx2.Client) -> None:
    missing = gateway.get(f"/chat/{uuid4()}/", headers={"Accept-Language": "zh-CN"})
    assert missing.status_code == 404
    assert "这里什么都没有" in missing.text
    assert '<html lang="zh-Hans"' in missing.text


async def test_with_tokens_only_a_public_pipeline_has_a_page(guarded: GatewayProcess, public: GatewayProcess) -> None:
    with client_of(public) as client:
        assert client.get(CHAT).status_code == 200
        change(guarded, "UPDATE conversations_pipeline SET public = 0")
        hidden, missing = client.get(CHAT), client.get(f"/chat/{uuid4()}/")
        assert (hidden.status_code, hidden.text) == (404, missing.text), "nobody learns that it is there"

        async def is_closed() -> bool:
            return client.get(f"{EMBED}/config").status_code == 404

        await eventually(is_closed, timeout=10, what="a pipeline that is not public")


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", True),
        (CHAT, True),
        (CHAT.rstrip("/"), True),
        (CHAT.upper().replace("/CHAT", "/chat"), True),
        ("/playground/", True),
        ("/static/chatgateway/chat/loader.js", True),
        ("/chat", False),
        ("/chat/", False),
        ("/chat/sync", False),
        ("/chat/async", False),
        (f"/chat/async/{DEFAULT_PIPELINE}", False),
        (f"{CHAT}more", False),
        (f"{CHAT}\n", False),
        ("/chat/not-a-uuid/", False),
        (f"{EMBED}/widget.js", False),
        ("/health", False),
    ],
)
def test_what_is_a_page(path: str, page: bool) -> None:
    assert is_page(path) is page


def test_the_calls_below_chat_stay_what_they_were(gateway: httpx2.Client) -> None:
    for path in ("/chat", "/chat/sync", "/chat/async"):
        assert gateway.get(path).status_code == 405
        assert gateway.post(path, json={}).json()["code"] != 0
    assert gateway.get("/chat/nothing").headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("accepts", "words"), [("en", "There is nothing here"), ("zh-CN", "这里什么都没有"), ("", "There is nothing here")]
)
def test_what_is_not_there_is_said_in_the_visitor_s_language(gateway: httpx2.Client, accepts: str, words: str) -> None:
    for path in ("/nothing", "/playground/nothing", "/chat/x.html/"):
        answer = gateway.get(path, headers={"Accept-Language": accepts})
        assert answer.status_code == 404
        if not path.startswith("/chat"):
            assert words in answer.text
            assert '<a href="/">' in answer.text


@pytest.mark.parametrize(("accepts", "language", "words"), [("zh-CN", "zh-Hans", "出错了"), ("fr", "en", "went wrong")])
def test_a_mistake_of_ours_is_a_page_too_and_asks_for_nothing(
    rf: RequestFactory, accepts: str, language: str, words: str
) -> None:
    # No database is at hand here: whatever failed, the page that says so does not.
    answer = handler500(rf.get("/", headers={"Accept-Language": accepts}))
    assert isinstance(answer, HttpResponse)
    page = answer.content.decode()
    assert answer.status_code == 500
    assert f'<html lang="{language}"' in page
    assert words in page
    assert "chatgateway/error.css" in page


def test_a_form_that_is_too_old_is_refused_by_a_page_of_ours(gateway: httpx2.Client) -> None:
    answer = gateway.post("/admin/login/", data={"username": "x"}, headers={"Accept-Language": "zh-CN"})
    assert answer.status_code == 403
    assert "This form is too old" in answer.text
    assert "style" not in answer.text.replace("stylesheet", "")


def test_staff_s_pages_are_in_english(gateway: httpx2.Client) -> None:
    page = gateway.get("/admin/login/?lang=zh-hans", headers={"Accept-Language": "zh-CN"}).text
    assert '<html lang="en"' in page
    assert "用户名" not in page


# --- The widget ----------------------------------------------------------------------------------


def test_the_loader_is_kept_and_asked_for_again(gateway: httpx2.Client) -> None:
    first = gateway.get(f"{EMBED}/widget.js")
    assert first.status_code == 200
    assert first.content == LOADER.read_bytes()
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert first.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in first.headers["Vary"]
    assert "max-age=86400" in first.headers["Cache-Control"]
    tag = first.headers["ETag"]
    for given in (tag, f'"other", {tag}'):
        again = gateway.get(f"{EMBED}/widget.js", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert gateway.get(f"{EMBED}/widget.js", headers={"If-None-Match": '"other"'}).status_code == 200


async def test_the_widget_is_told_what_it_shows_where_its_page_is_allowed(public: GatewayProcess) -> None:
    with client_of(public) as client:
        for lang, send in (("en", "Send"), ("zh-hans", "发送")):
            answer = client.get(f"{EMBED}/config", params={"lang": lang}, headers={"Origin": SHOP})
            assert answer.status_code == 200
            assert answer.headers["Content-Encoding"] == "gzip"
            assert {"origin", "Accept-Encoding"} <= set(answer.headers["Vary"].split(", "))
            assert answer.headers["Access-Control-Allow-Origin"] == SHOP
            data = answer.json()["data"]
            assert (data["pipeline"], data["language"]) == (DEFAULT_PIPELINE, lang)
            assert data["strings"]["send"] == send
        for origin in ("https://evil.example", "null", "https://shop.example.evil", "http://localhost:3000"):
            refused = client.get(f"{EMBED}/config", headers={"Origin": origin})
            assert (refused.status_code, refused.json()) == (403, {"code": -1, "msg": "Origin not allowed"})
            assert "Access-Control-Allow-Origin" not in refused.headers
        for uuid in (uuid4(), "nothing"):
            missing = client.get(f"/api/v1/embed/{uuid}/config", headers={"Origin": SHOP})
            assert (missing.status_code, missing.json()["msg"]) == (404, "Pipeline not found")


# --- What other sites may read -------------------------------------------------------------------


async def test_allowed_pages_may_read_calls_and_the_widget_s_files(public: GatewayProcess) -> None:
    with client_of(public) as client:
        for path in ("/api/v1/pipelines", "/chat/sync", "/static/chatgateway/chat/loader.js", f"{EMBED}/widget.js"):
            for origin in (SHOP, "http://10.0.0.7:8080"):
                told = client.get(path, headers={"Origin": origin}).headers
                assert told["Access-Control-Allow-Origin"] == origin, path
                assert "Access-Control-Allow-Credentials" not in told
                assert "origin" in told["Vary"].lower()
            for origin in ("https://evil.example", "http://shop.example", "https://shop.example:8443", "null"):
                assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": origin}).headers


async def test_an_allowed_page_may_ask_beforehand(public: GatewayProcess) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    path = f"/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/feedback/person"
    with client_of(public) as client:
        told = client.options(path, headers={"Origin": SHOP, **ask})
        assert told.status_code == 200
        assert told.headers["Access-Control-Allow-Origin"] == SHOP
        assert "POST" in told.headers["Access-Control-Allow-Methods"]
        assert "content-type" in told.headers["Access-Control-Allow-Headers"]
        refused = client.options(path, headers={"Origin": "https://evil.example", **ask})
        assert "Access-Control-Allow-Origin" not in refused.headers


async def test_pages_and_the_admin_are_for_nobody_else_to_read(public: GatewayProcess) -> None:
    with client_of(public) as client:
        for path in (CHAT, "/admin/login/", "/api/schema/", "/static/chatgateway/desk.css", "/metrics", "/healthz"):
            assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": SHOP}).headers, path


def test_in_open_mode_this_machine_s_pages_may_too_and_no_others(gateway: httpx2.Client) -> None:
    for origin in ("http://localhost:3000", "http://127.0.0.1:5500", "https://[::1]"):
        told = gateway.get("/api/v1/pipelines", headers={"Origin": origin}).headers
        assert told["Access-Control-Allow-Origin"] == origin
    for origin in (
        SHOP,
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example/localhost",
    ):
        assert "Access-Control-Allow-Origin" not in gateway.get("/api/v1/pipelines", headers={"Origin": origin}).headers


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("https://SHOP.example:443/", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_said_as_browsers_say_it(written: str, said: str) -> None:
    assert canonical_origin(written) == said
