"""Nothing of a document's program is changed but its addresses and the placeholders that it prints."""

import difflib
from collections.abc import Mapping

import pytest

from tests.support.documents import aimed, blocks, program

HOST = "127.0.0.1:20999"
# Where a program is, what to fill in, and every line that is changed by it, as it was and as it is.
PROGRAMS: list[tuple[str, str, tuple[str, ...], Mapping[str, str], list[tuple[str, str]]]] = [
    ("000", "", ("curl",), {"<APPID>": "a1", "<SECRET>": "s1"}, [
        ("curl --location 'https://ai.zhycit.com/wecom/token?appid=<APPID>&secret=<SECRET>'",
         f"curl --location 'http://{HOST}/wecom/token?appid=a1&secret=s1'"),
    ]),
    ("000", "python", ("weather_service",), {}, [
        ('SOCKET_URL = "wss://socket.zhycit.com/"', f'SOCKET_URL = "ws://{HOST}/"'),
        ('TOKEN_URL = "https://ai.zhycit.com/wecom/token"', f'TOKEN_URL = "http://{HOST}/wecom/token"'),
    ]),
    ("000", "", ("APPID=",), {"your_appid": "a1", "your_secret": "s1"}, [
        ("APPID=your_appid", "APPID=a1"),
        ("SECRET=your_secret", "SECRET=s1"),
    ]),
    ("001", "python", ("chat_with_websocket",), {}, [
        ("        async with websockets.connect('ws://127.0.0.1:8080/contact') as websocket:",
         f"        async with websockets.connect('ws://{HOST}/contact') as websocket:"),
    ]),
    ("001", "javascript", ("displayMessage",), {}, [
        ("const ws = new WebSocket('ws://127.0.0.1:8080/contact');", f"const ws = new WebSocket('ws://{HOST}/contact');"),
    ]),
    ("002", "bash", ("/chat ",), {}, [
        ("curl -X POST http://localhost:8080/chat \\", f"curl -X POST http://{HOST}/chat \\"),
    ]),
    ("002", "bash", ("/chat/sync",), {}, [
        ("curl -X POST http://localhost:8080/chat/sync \\", f"curl -X POST http://{HOST}/chat/sync \\"),
    ]),
    ("003", "python", ("test_websocket",), {}, [
        ('    uri = "ws://localhost:8000/wechat/ws"', f'    uri = "ws://{HOST}/wechat/ws"'),
    ]),
    ("003", "bash", ("curl",), {}, [
        ("curl http://localhost:8000/wechat/health", f"curl http://{HOST}/wechat/health"),
        ("curl -X POST http://localhost:8000/wechat/login \\", f"curl -X POST http://{HOST}/wechat/login \\"),
        ("curl -X POST http://localhost:8000/wechat/chat \\", f"curl -X POST http://{HOST}/wechat/chat \\"),
    ]),
    ("003", "javascript", ("connectSocket",), {}, [
        ("    const wsUrl = 'wss://your-domain.com/wechat/ws' // 替换为你的服务器地址",
         f"    const wsUrl = 'ws://{HOST}/wechat/ws' // 替换为你的服务器地址"),
    ]),
    ("003", "javascript", ("/wechat/login",), {}, [
        ("            url: 'https://your-domain.com/wechat/login', // 替换为你的服务器地址",
         f"            url: 'http://{HOST}/wechat/login', // 替换为你的服务器地址"),
    ]),
    ("003", "javascript", ("/wechat/chat",), {}, [
        ("      url: 'https://your-domain.com/wechat/chat', // 替换为你的服务器地址",
         f"      url: 'http://{HOST}/wechat/chat', // 替换为你的服务器地址"),
    ]),
    ("004", "javascript", ("new WebSocket",), {"your-pipeline-uuid": "p1"}, [
        ("const ws = new WebSocket('ws://localhost:8000/api/v1/pipelines/your-pipeline-uuid/ws/connect?session_type=person');",
         f"const ws = new WebSocket('ws://{HOST}/api/v1/pipelines/p1/ws/connect?session_type=person');"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "language", "contains", "placeholders", "changed"),
    PROGRAMS,
    ids=[f"{number}-{language}-{contains[0].strip()}" for number, language, contains, _, _ in PROGRAMS],
)
def test_only_addresses_and_placeholders_are_changed(
    number: str,
    language: str,
    contains: tuple[str, ...],
    placeholders: Mapping[str, str],
    changed: list[tuple[str, str]],
) -> None:
    printed = program(number, language, *contains)
    delta = list(difflib.ndiff(printed.splitlines(), aimed(printed, HOST, placeholders).splitlines()))
    assert [line[2:] for line in delta if line.startswith("- ")] == [before for before, _ in changed]
    assert [line[2:] for line in delta if line.startswith("+ ")] == [after for _, after in changed]


def test_a_block_is_cut_out_by_its_language_without_the_indentation_of_its_list() -> None:
    text = "- a list\n  ```python\n  if x:\n      y()\n  ```\n\n```\nplain\n```\n```javascript\nf()\n```\n"
    assert blocks(text, "python") == ["if x:\n    y()\n"]
    assert blocks(text, "") == ["plain\n"]
    assert blocks(text, "javascript") == ["f()\n"]
    assert blocks(text, "bash") == []
