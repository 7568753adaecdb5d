"""Calls to WeChat: what its answers mean, what is tried again, and what never leaves the call."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from conversations.responders.upstream import open_client
from integrations.errors import WireError
from integrations.wechat.api import PIECE, RETRY_AFTER, Account, WeChatAPI
from tests.faults.model import closed_port
from tests.support.wechat import APPID, BUSY, HANG_UP, SECRET, SESSION_KEY, SILENT, WeChat, wechat_in_thread

STALE = {"errcode": 42001, "errmsg": "access_token expired"}


@pytest.fixture
def wechat() -> Iterator[WeChat]:
    with wechat_in_thread() as wechat:
        yield wechat


@pytest.fixture
async def api(wechat: WeChat) -> AsyncIterator[WeChatAPI]:
    async with open_client(allow_private=True) as client:
        yield WeChatAPI(client, base=f"{wechat.url}/", appid=APPID, secret=SECRET, patience=3.0)


async def refusal(api: WeChatAPI, code: str = "c") -> tuple[int, str]:
    """Return status and words of a login that must fail."""
    with capture_logs() as logs, pytest.raises(WireError) as refused:
        await api.code2session(code)
    assert "canary" not in str(logs), "a secret in the log"
    assert "canary" not in str(refused.value)
    return refused.value.status, str(refused.value)


@pytest.mark.parametrize("unionid", [None, "u1"])
async def test_a_code_stands_for_a_user(wechat: WeChat, api: WeChatAPI, unionid: str | None) -> None:
    wechat.code("c", openid="o1", **({"unionid": unionid} if unionid else {}))
    account = await api.code2session("c")
    assert account == Account("o1", unionid)
    assert SESSION_KEY not in repr(account)


async def test_errcode_zero_is_a_success_too(wechat: WeChat, api: WeChatAPI) -> None:
    wechat.script("jscode2session", {"errcode": 0, "errmsg": "ok", "openid": "o1", "session_key": SESSION_KEY})
    assert (await api.code2session("c")).openid == "o1"


@pytest.mark.parametrize(
    ("errcode", "errmsg", "status"),
    [
        (40029, "invalid code", 400),
        (40163, "code been used", 400),
        (40226, "code blocked", 403),
        (45011, "api minute-quota reach limit", 429),
        (40013, "invalid appid", 500),
        (40125, "invalid appsecret", 500),
        (99999, "something new", 400),
    ],
)
async def test_a_refusal_keeps_wechats_words(
    wechat: WeChat, api: WeChatAPI, errcode: int, errmsg: str, status: int
) -> None:
    wechat.script("jscode2session", {"errcode": errcode, "errmsg": errmsg})
    assert await refusal(api) == (status, f"微信登录失败: {errmsg} (错误码: {errcode})")
    assert len(wechat.calls) == 1, "a code is single use"


async def test_a_wrong_configuration_alerts_the_operator(wechat: WeChat, api: WeChatAPI) -> None:
    wechat.script("jscode2session", {"errcode": 40164, "errmsg": "invalid ip 203.0.113.9, not in whitelist"})
    with capture_logs() as logs, pytest.raises(WireError) as refused:
        await api.code2session("c")
    assert str(refused.value) == "微信登录失败: 小程序配置有误，请联系管理员 (错误码: 40164)"
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("wechat.configuration_refused", "error")]


async def test_a_busy_wechat_is_asked_again(wechat: WeChat, api: WeChatAPI) -> None:
    wechat.code("c", openid="o1")
    wechat.script("jscode2session", BUSY, BUSY)
    assert (await api.code2session("c")).openid == "o1"
    wechat.script("jscode2session", *[BUSY] * (len(RETRY_AFTER) + 1))
    assert await refusal(api) == (503, "微信登录失败: system error (错误码: -1)")
    assert len(wechat.calls) == 2 * (len(RETRY_AFTER) + 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HANG_UP, "与微信服务器的通信中断"),
        (SILENT, "微信服务器响应超时"),
        (b"<html>canary</html>", "微信服务器返回了无法识别的内容"),
        (b"\xff", "微信服务器返回了无法识别的内容"),
        (b"[]", "微信服务器返回了无法识别的内容"),
        (b"x" * 100_000, "微信服务器返回了无法识别的内容"),
        ({"errcode": "40029"}, "微信服务器返回了无法识别的内容"),
        ({"session_key": SESSION_KEY}, "微信服务器没有返回openid"),
        ({"openid": "", "session_key": SESSION_KEY}, "微信服务器没有返回openid"),
        ({"openid": 5}, "微信服务器没有返回openid"),
    ],
)
async def test_what_may_have_arrived_is_not_sent_again(
    wechat: WeChat, api: WeChatAPI, answer: object, words: str
) -> None:
    wechat.script("jscode2session", answer)
    assert await refusal(api) == (500, f"请求微信API失败: {words}")
    assert len(wechat.calls) == 1


@pytest.mark.parametrize(("allow_private", "attempts"), [(True, len(RETRY_AFTER) + 1), (False, 1)])
async def test_a_connection_that_was_not_opened_is_tried_again_where_that_may_help(
    allow_private: bool, attempts: int
) -> None:
    async with open_client(allow_private=allow_private) as client:
        tried = 0
        stream = client.stream

        def counted(*arguments: object, **options: object) -> object:
            nonlocal tried
            tried += 1
            return stream(*arguments, **options)  # type: ignore[arg-type]

        client.stream = counted  # type: ignore[assignment,method-assign]
        api = WeChatAPI(client, base=f"http://127.0.0.1:{closed_port()}", appid=APPID, secret=SECRET)
        assert await refusal(api, "canary-code") == (500, "请求微信API失败: 无法连接微信服务器")
        assert tried == attempts


# --- Content check -----------------------------------------------------------------------------


async def test_a_text_is_checked_piece_by_piece_with_one_token(wechat: WeChat, api: WeChatAPI) -> None:
    assert not await api.is_risky("好" * (2 * PIECE), "o1")
    assert await api.is_risky("好" * PIECE + "违禁", "o1")
    assert len(wechat.named("stable_token")) == 1
    assert [len(body["content"]) for _, _, body in wechat.named("msg_sec_check")] == [PIECE, PIECE, PIECE, 2]
    _, query, body = wechat.named("msg_sec_check")[0]
    assert query == {"access_token": "canary-token-1"}
    assert {name: body[name] for name in ("version", "scene", "openid")} == {"version": 2, "scene": 2, "openid": "o1"}
    (_, query, body) = wechat.named("stable_token")[0]
    assert query == {}
    assert body == {"grant_type": "client_credential", "appid": APPID, "secret": SECRET}


@pytest.mark.parametrize(
    ("said", "risky"),
    [
        ({"errcode": 0, "result": {"suggest": "review", "label": 20001}}, False),
        ({"errcode": 0, "result": {"suggest": "risky", "label": 20001}}, True),
        ({"errcode": 0}, False),
        ({"errcode": 87014, "errmsg": "risky content"}, True),
    ],
)
async def test_only_what_wechat_calls_risky_is(wechat: WeChat, api: WeChatAPI, said: object, risky: bool) -> None:
    wechat.script("msg_sec_check", said)
    assert await api.is_risky("text", "o1") is risky


async def test_a_token_that_ended_early_is_asked_for_anew_once(wechat: WeChat, api: WeChatAPI) -> None:
    wechat.script("msg_sec_check", STALE)
    assert not await api.is_risky("text", "o1")
    assert [query["access_token"] for _, query, _ in wechat.named("msg_sec_check")] == [
        "canary-token-1",
        "canary-token-2",
    ]
    wechat.script("msg_sec_check", STALE, STALE)
    with pytest.raises(WireError):
        await api.is_risky("text", "o1")


@pytest.mark.parametrize("said", [{"errcode": 40125, "errmsg": "invalid appsecret"}, {"access_token": 5}, {}])
async def test_without_a_token_nobody_can_tell(wechat: WeChat, api: WeChatAPI, said: object) -> None:
    wechat.script("stable_token", said)
    with capture_logs() as logs, pytest.raises(WireError):
        await api.is_risky("canary words", "canary-openid")
    assert logs
    assert "canary" not in json.dumps(logs)
