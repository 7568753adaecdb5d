"""The playground's page: who may see it, and what it is made of."""

import html
import json
import re
from typing import Any

from chatgateway.pages.panels import panels
from tests.chatgateway.pages.visitors import visitor, words
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.server import GatewayProcess

EN = {"Accept-Language": "en"}


def data_of(page: str, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.+?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_everybody_may_in_open_access(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway, **EN) as client:
        answer = client.get("/playground/")
    assert answer.status_code == 200
    data = data_of(answer.text, "playground-data")
    assert [panel["wire"] for panel in data] == list(panels())
    for wire, panel in panels().items():
        assert f'id="panel-{wire}"' in answer.text
        assert panel.document in html.unescape(answer.text)
    assert f'<option value="{DEFAULT_PIPELINE}" selected>' in answer.text
    assert all(data_of(answer.text, "playground-strings").values())


def test_a_stranger_is_sent_to_the_log_in_in_token_mode(token_gateway: GatewayProcess) -> None:
    with visitor(token_gateway) as client:
        answer = client.get("/playground/?lang=en")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("/admin/login/?next=/playground/")
    assert DEFAULT_PIPELINE not in answer.text


def test_staff_may_in_token_mode(token_gateway: GatewayProcess) -> None:
    with visitor(token_gateway, name="ann", **EN) as client:
        answer = client.get("/playground/")
    assert answer.status_code == 200
    assert "an application's, from the admin" in html.unescape(answer.text)
    assert "no-store" in answer.headers["cache-control"]


def test_it_speaks_chinese(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        page = client.get("/playground/?lang=zh-hans").text
    assert '<html lang="zh-Hans">' in page
    assert data_of(page, "playground-strings")["connect"] == "连接"
    assert "微信小程序" in words(page)


def test_the_picker_is_for_the_wires_that_name_a_pipeline(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        data = data_of(client.get("/playground/?lang=en").text, "playground-data")
    assert [panel["wire"] for panel in data if panel["names_pipeline"]] == ["langbot"]


def test_what_the_panels_say_is_said_in_the_visitor_s_language(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        for lang, warning, not_set_up in (("en", "every session", "not set up"), ("zh-hans", "所有会话", "尚未配置")):
            data = {
                one["wire"]: one for one in data_of(client.get(f"/playground/?lang={lang}").text, "playground-data")
            }
            (reset,) = (way for way in data["langbot"]["ways"] if way["name"] == "reset")
            words = {field["name"]: field["without"] for field in reset["fields"] if field["without"]}
            assert words.keys() == {"session_id"}
            assert warning in words["session_id"]
            (told,) = (step["unless"]["words"] for step in data["wechat"]["steps"] if step.get("unless"))
            assert not_set_up in told
            assert "WECHAT_APPID" in told
            assert "WECHAT_APP_SECRET" in told


def test_it_is_read_and_nothing_else(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        head = client.head("/playground/")
        refused = [client.request(method, "/playground/").status_code for method in ("POST", "PUT", "DELETE")]
    assert (head.status_code, head.content) == (200, b"")
    assert all(status in {403, 405} for status in refused), refused


def test_it_runs_only_our_own_modules(open_gateway: GatewayProcess) -> None:
    with visitor(open_gateway) as client:
        answer = client.get("/playground/")
        scripts = re.findall(r"<script([^>]*)>", answer.text)
        assert client.get("/static/chatgateway/playground.js").status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert [script for script in scripts if "src=" not in script and "application/json" not in script] == []
    assert " style=" not in answer.text
    assert not re.search(r"\son\w+=", answer.text)
