"""Document 004's JavaScript client, unmodified, in Node and in a browser."""

from pathlib import Path

import pytest

from tests.support.browser import browser_page, served
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.documents import aimed, program
from tests.support.node import console
from tests.support.rest import acall, below, call
from tests.support.server import GatewayProcess

SAID = {"WebSocket 连接已建立", "响应完成", "收到广播: 维护通知"}


@pytest.fixture
def client(gateway: GatewayProcess) -> str:
    return aimed(program("004", "javascript", "new WebSocket"), gateway, {"your-pipeline-uuid": DEFAULT_PIPELINE})


def test_in_node_it_connects_is_answered_and_hears_a_broadcast(
    gateway: GatewayProcess, client: str, tmp_path: Path
) -> None:
    with console(client, folder=tmp_path, name="client") as running:
        running.until("WebSocket 连接已建立", "连接成功: ", "机器人回复: ", "响应完成")
        status, _ = call(gateway, "POST", below("broadcast"), {"message": "维护通知"})
        assert status == 200
        running.until("收到广播: 维护通知")
        running.type("ws.send(JSON.stringify({ type: 'disconnect' }))")
        printed = running.until("WebSocket 连接已关闭").splitlines()
    replies = [line.removeprefix("机器人回复: ") for line in printed if line.startswith("机器人回复: ")]
    assert len(replies) > 1, "streamed"
    assert all(replies[-1].startswith(reply) for reply in replies), "cumulative"
    assert printed.count("响应完成") == 1
    assert not any("错误" in line for line in printed)


async def test_in_a_browser_it_connects_is_answered_and_hears_a_broadcast(gateway: GatewayProcess, client: str) -> None:
    files = {"/": "<!doctype html><script src='/client.js'></script>", "/client.js": client}
    with served(files) as address:
        async with browser_page() as page:
            printed: list[str] = []
            page.on("console", lambda message: printed.append(message.text))
            async with page.expect_console_message(lambda message: message.text == "响应完成"):
                await page.goto(address)
            async with page.expect_console_message(lambda message: message.text.startswith("收到广播")):
                await acall(gateway, "POST", below("broadcast"), {"message": "维护通知"})
    assert set(printed) >= SAID
    assert sum(text.startswith("机器人回复: ") for text in printed) > 1
    assert not any("错误" in text for text in printed)
