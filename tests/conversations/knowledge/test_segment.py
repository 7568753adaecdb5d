import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.knowledge import segment
from conversations.types import Language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("如何连接知识库", ["连接", "知识库", "知识"]),
        ("How do I load the documents?", ["load", "docu"]),
        ("ＲＥＤＩＳ　１２３", ["redis", "123"]),
        ("REDIS_URL", ["redis_url", "redis", "url"]),
        ("/wechat/ws", ["wechat/ws", "wechat", "ws"]),
        ("kill -9", ["kill", "-9"]),
        ("`--pipeline`", ["--pipeline", "pipelin"]),
        ("- 127.0.0.1:8000", ["127.0.0.1:8000", "127", "8000"]),
        ("what's don't I'm", []),
        ("1+1等于几", ["等于"]),
        ("用WebSocket重连", ["websocket", "重连"]),
        ("", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert segment.terms(text) == expected


@pytest.mark.parametrize(
    "forms",
    [
        ("connect", "connects", "connected", "connecting", "connection", "connections"),
        ("configure", "configured", "configuring", "configuration"),
        ("stop", "stops", "stopped", "stopping"),
        ("authenticate", "authenticated", "authentication"),
        ("retry", "retries", "retried", "retrying"),
        ("resume", "resumed", "resuming", "resumes"),
        ("document", "documents", "documentation"),
        ("lose", "lost", "losing"),
        ("match", "matches", "matching"),
    ],
)
def test_forms_of_a_word_are_one_term(forms: tuple[str, ...]) -> None:
    assert len({segment.stem(form) for form in forms}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("如何连接", "zh-hans"),
        ("make run 报错", "zh-hans"),
        ("REDIS_URL 是什么", "zh-hans"),
        ("How do I connect?", "en"),
        ("What is 易事厅?", "en"),
        ("12345 ???", None),
    ],
)
def test_language(text: str, expected: Language | None) -> None:
    assert segment.language_of(text) == expected


@given(st.text())
def test_any_text_has_terms_that_are_not_empty(text: str) -> None:
    assert all(segment.terms(text))
    assert segment.language_of(text) in {"zh-hans", "en", None}
