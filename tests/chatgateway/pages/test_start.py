"""The start page: who sees what of it, in which language, and what it is asked with."""

import sqlite3
from contextlib import closing

import pytest

from integrations.capabilities import CAPABILITIES
from tests.chatgateway.pages.visitors import visitor, words
from tests.conftest import GatewayFactory
from tests.support.applications import change
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.server import GatewayProcess
from tests.support.waiting import wait_until

EN = {"Accept-Language": "en"}
ZH = {"Accept-Language": "zh-CN,zh;q=0.9"}


def test_everybody_sees_how_it_is_in_open_access(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway, **EN) as client:
        answer = client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "no-store" in answer.headers["cache-control"]  # what it says of now is not true later
    said = words(answer.text)
    assert "Serving" in said
    for title in ("Access open", "Database works SQLite", "Channel layer works", "workers: 1", "Pipelines 1"):
        assert title in said, title
    for link in (
        f"/chat/{DEFAULT_PIPELINE}/",
        "/playground/",
        "/admin/",
        "/admin/desk/",
        "/api/docs/",
        "/api/asyncapi/",
    ):
        assert f'href="{link}"' in answer.text, link
    for wire in CAPABILITIES:
        assert f'href="/playground/#{wire}"' in answer.text, wire
    assert f"ws://127.0.0.1:{open_gateway.port}/api/v1/pipelines/{DEFAULT_PIPELINE}/ws/connect" in said
    assert f"http://127.0.0.1:{open_gateway.port}/chat" in said


def test_a_stranger_sees_only_that_it_serves_in_token_mode(token_gateway: GatewayProcess) -> None:
    with visitor(token_gateway, **EN) as client:
        page = client.get("/").text
    said = words(page)
    assert "Serving" in said
    for secret in ("Database", "Channel layer", "Live connections", "worker", DEFAULT_PIPELINE, "/playground/"):
        assert secret not in page, secret
    assert "No chat is open to visitors here." in said
    assert 'href="/admin/"' in page


def test_staff_sees_how_it_is_in_token_mode(token_gateway: GatewayProcess) -> None:
    with visitor(token_gateway, name="ann", **EN) as client:
        page = client.get("/").text
    assert "Live connections" in page
    assert 'href="/playground/"' in page
    assert f"/chat/{DEFAULT_PIPELINE}/" not in page, "it is open to nobody"


def test_a_public_pipeline_s_chat_is_for_strangers_too(start_gateway: GatewayFactory) -> None:
    environment = {"ACCESS_MODE": "token", "PUBLIC_URL": "https://chat.example.com"}
    gateway = start_gateway(environment=environment, start=False)
    change(
        gateway, "UPDATE conversations_pipeline SET public = 1, name = '<b onclick=1>ours', description = '<script>'"
    )
    gateway.start()
    with visitor(gateway, **EN) as client:
        page = client.get("/").text
    assert f'href="/chat/{DEFAULT_PIPELINE}/"' in page
    assert "wss://chat.example.com/contact" in page, "where others find it"
    assert "&lt;b onclick=1&gt;ours" in page
    assert "&lt;script&gt;" in page
    assert "Live connections" not in page


@pytest.mark.parametrize(("headers", "query", "lang", "said"), [
    (EN, "", "en", "One AI chat service"),
    (ZH, "", "zh-Hans", "一个 AI 聊天服务"),
    (EN, "?lang=zh-hans", "zh-Hans", "一个 AI 聊天服务"),
    (ZH, "?lang=en", "en", "One AI chat service"),
    (EN, "?lang=xx", "en", "One AI chat service"),
])  # fmt: skip
def test_it_speaks_two_languages(
    open_gateway: GatewayProcess, headers: dict[str, str], query: str, lang: str, said: str
) -> None:
    with visitor(open_gateway, **headers) as client:
        answer = client.get(f"/{query}")
    assert f'<html lang="{lang}">' in answer.text
    assert said in answer.text


def test_the_language_that_was_chosen_stays(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway, **EN) as client:
        client.get("/?lang=zh-hans")
        assert '<html lang="zh-Hans">' in client.get("/").text
        client.get("/?lang=en")
        assert '<html lang="en">' in client.get("/").text


def test_it_is_read_and_nothing_else(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        head = client.head("/")
        refused = [client.request(method, "/").status_code for method in ("POST", "PUT", "DELETE")]
    assert (head.status_code, head.content) == (200, b"")
    assert all(status in {403, 405} for status in refused), refused


def test_it_runs_nothing_that_is_not_ours(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_foreign_host_is_refused(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway, Host="attacker.example") as client:
        answer = client.get("/")
    assert answer.status_code == 400
    assert "attacker.example" not in answer.text


def test_without_its_database_it_says_so(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(environment={"LOCK_TIMEOUT": "0.5"})
    path = gateway.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other, visitor(gateway, **EN) as client:
        other.execute("BEGIN IMMEDIATE")
        # What was found to work a moment ago is believed for a moment.
        wait_until(lambda: client.get("/readyz").status_code == 503, timeout=15, what="GET /readyz 503")
        answer = client.get("/")
        other.execute("ROLLBACK")
    assert answer.status_code == 200
    said = words(answer.text)
    assert "Not serving at the moment" in said
    assert "Database unavailable" in said
    assert "Live connections" not in said
