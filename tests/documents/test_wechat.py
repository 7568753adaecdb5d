"""Document 003's Python script, its curl commands and its mini program pages, unmodified."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.documents import aimed, program
from tests.support.node import node
from tests.support.programs import Program, python, shell
from tests.support.server import GatewayProcess

QUESTION = "怎么接入大语言模型？"
TYPE = f"page.onInput({{ detail: {{ value: '{QUESTION}' }} }})"


def frames(printed: str) -> dict[str, dict[str, Any]]:
    """Return the frames that the Python script printed, by its own word for each."""
    return {word: json.loads(frame) for word, frame in re.findall(r"^(\S+): (\{.*\})$", printed, re.MULTILINE)}


def bodies(printed: str) -> list[dict[str, Any]]:
    """Return the JSON objects in what several curls printed one after another."""
    decoder, found, at = json.JSONDecoder(), [], printed.find("{")
    while at >= 0:
        body, end = decoder.raw_decode(printed, at)
        found.append(body)
        at = printed.find("{", end)
    return found


def shown(page: Program) -> dict[str, Any]:
    """Return the data that a page has by now, as far as it was set."""
    data: dict[str, Any] = {}
    for line in re.findall(r"^data (\{.*\})$", page.output, re.MULTILINE):
        data |= json.loads(line)
    return data


def open_page(gateway: GatewayProcess, folder: Path, *parts: str) -> Path:
    """Write a page of the document into a file."""
    path = folder / f"{parts[-1].strip('/').replace('/', '-')}.js"
    path.write_text(aimed(program("003", "javascript", *parts), gateway), encoding="utf-8")
    return path


def test_the_python_script_logs_in_and_is_answered(gateway: GatewayProcess, tmp_path: Path) -> None:
    with python(aimed(program("003", "python", "test_websocket"), gateway), folder=tmp_path, name="script") as script:
        said = frames(script.finished())
    assert list(said) == ["连接确认", "登录响应", "处理中", "聊天回复"]
    assert said["连接确认"] == {"type": "connected", "code": 0, "message": "连接成功", "data": None}
    assert (said["登录响应"]["type"], said["登录响应"]["code"]) == ("login_response", 0)
    assert said["登录响应"]["message"] == "登录成功"
    assert {"openid", "session_id"} <= set(said["登录响应"]["data"])
    assert said["处理中"] == {"type": "chat_processing", "code": 0, "message": "正在处理中...", "data": None}
    assert (said["聊天回复"]["type"], said["聊天回复"]["code"]) == ("chat_response", 0)
    assert said["聊天回复"]["message"] == "成功"
    assert said["聊天回复"]["data"]["msg"]
    assert said["聊天回复"]["data"]["session_id"] == said["登录响应"]["data"]["session_id"]


def test_the_three_curl_commands_are_answered(gateway: GatewayProcess, tmp_path: Path) -> None:
    with shell(aimed(program("003", "bash", "curl"), gateway), folder=tmp_path) as curl:
        health, login, chat = bodies(curl.finished())
    assert (health["code"], health["message"]) == (0, "服务正常")
    assert health["timestamp"]
    assert (login["code"], login["message"]) == (0, "登录成功")
    assert login["data"]["openid"]
    assert (chat["code"], chat["message"]) == (0, "成功")
    assert {"msg", "id", "session_id"} <= set(chat["data"])
    assert chat["data"]["msg"]


def test_the_socket_page_logs_in_and_shows_the_answer(gateway: GatewayProcess, tmp_path: Path) -> None:
    page = open_page(gateway, tmp_path, "Page(", "connectSocket")
    with node("wx.js", page, folder=tmp_path) as running:
        running.until("WebSocket连接成功", "WebSocket已连接", "服务器确认连接", "toast success: 登录成功")
        running.type(TYPE)
        running.type("page.sendChatMessage()")
        running.until('"type":"ai"')
        running.type("page.sendPing()")
        running.until("收到心跳响应")
        data = shown(running)
        running.type("page.onUnload()")
        printed = running.until("WebSocket连接已关闭")
    assert data["openid"]
    assert data["loading"] is False
    assert [message["type"] for message in data["messages"]] == ["user", "ai"]
    assert data["messages"][0]["content"] == QUESTION
    assert "OPENAI_BASE_URL" in data["messages"][1]["content"]
    assert 'data {"loading":true}' in printed
    assert "toast none" not in printed


def test_the_http_pages_log_in_and_show_the_answer(gateway: GatewayProcess, tmp_path: Path) -> None:
    login = open_page(gateway, tmp_path, "/wechat/login")
    chat = open_page(gateway, tmp_path, "/wechat/chat")
    with node("wx.js", login, folder=tmp_path) as running:
        running.until('data {"openid":')
        openid = shown(running)["openid"]
        running.type(f"open({json.dumps(str(chat))})")
        running.type(TYPE)
        running.type("page.sendMessage()")
        printed = running.until('"type":"ai"')
        data = shown(running)
    assert openid
    assert data["openid"] == openid, "found in the storage"
    assert data["loading"] is False
    assert [message["type"] for message in data["messages"]] == ["user", "ai"]
    assert "OPENAI_BASE_URL" in data["messages"][1]["content"]
    assert "toast" not in printed
