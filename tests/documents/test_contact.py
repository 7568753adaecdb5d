"""Document 001's Python and JavaScript clients, unmodified."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import browser_page, served
from tests.support.documents import aimed, program
from tests.support.node import console
from tests.support.programs import Program, python
from tests.support.server import GatewayProcess

RECEIVED = "联系请求已收到，博主将尽快回复您"
QUESTIONS = ["你好，这个博客系统是怎么搭建的？", "能介绍一下使用的技术栈吗？", "如何部署到生产环境？"]
QUESTION = "怎么接入大语言模型？"
ASK = f"sendChatMessage('{QUESTION}')"
PAGE = """<!doctype html>
<ul id="messages"></ul>
<script>
function displayMessage(text, role) {
    const item = document.createElement('li');
    item.className = role;
    item.textContent = text;
    document.getElementById('messages').append(item);
}
</script>
<script src="/client.js"></script>
"""


@pytest.fixture(scope="module", autouse=True)
def python_client(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The Python client, which takes 12 seconds by its own text: it runs beside the other tests."""
    code = aimed(program("001", "python", "chat_with_websocket"), gateway)
    with python(code, folder=tmp_path_factory.mktemp("python"), name="client") as running:
        yield running


@pytest.fixture
def javascript_client(gateway: GatewayProcess) -> str:
    return aimed(program("001", "javascript", "displayMessage"), gateway)


def test_the_python_client_prints_an_acknowledgement_and_an_answer_to_each_question(python_client: Program) -> None:
    printed = python_client.finished()
    said = [line.removeprefix("🤖 服务器回复: ") for line in printed.splitlines() if line.startswith("🤖")]
    assert "✅ 连接成功" in printed
    assert "📤 已发送联系请求" in printed
    assert [f"💬 发送: {question}" in printed for question in QUESTIONS] == [True] * 3
    assert "❌" not in printed
    assert said[0] == "WebSocket连接已建立"
    assert said.count(RECEIVED) == 1
    assert said.count("消息已收到") == 3
    # What is left are the answers; lines of them without the robot are theirs too.
    assert len(said) == 1 + 1 + 3 + 3
    assert all(said)


def test_in_node_the_javascript_client_is_acknowledged_and_answered(javascript_client: str, tmp_path: Path) -> None:
    with console(javascript_client, folder=tmp_path, name="client") as running:
        # Its own last line speaks before there is a connection, and says so.
        running.until("WebSocket未连接", "连接确认: WebSocket连接已建立", "联系请求已收到")
        running.type(ASK)
        printed = running.until("AI回复: ", "displayMessage assistant: ")
        running.type("ws.close()")
        running.until("WebSocket连接已关闭")
    assert re.search(r"AI回复: .*OPENAI_BASE_URL", printed, re.DOTALL)
    assert "错误" not in printed


async def test_in_a_browser_the_answer_is_shown_on_the_page(javascript_client: str) -> None:
    with served({"/": PAGE, "/client.js": javascript_client}) as address:
        async with browser_page() as page:
            printed: list[str] = []
            page.on("console", lambda message: printed.append(message.text))
            async with page.expect_console_message(lambda message: message.text == "联系请求已收到"):
                await page.goto(address)
            await page.evaluate(ASK)
            shown = page.locator("li.assistant")
            await shown.wait_for(timeout=15_000)
            assert "OPENAI_BASE_URL" in await shown.inner_text()
            assert await shown.count() == 1
    assert "连接确认: WebSocket连接已建立" in printed
    assert not any("错误" in text for text in printed)
