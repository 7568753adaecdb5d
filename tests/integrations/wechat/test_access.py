"""The WeChat wire in token mode: the login is the credential, and WeChat says whose it is."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import GatewayFactory
from tests.integrations.wechat.test_views import post
from tests.support.applications import change, make_application
from tests.support.clients import PipelineClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import APPID, BUSY, SECRET, WeChat, WeChatClient


def user(wechat: WeChat, **more: str) -> str:
    """Return a code of a new user."""
    code = f"canary-code-{uuid4().hex}"
    wechat.code(code, openid=f"canary-openid-{uuid4().hex}", **more)
    return code


async def test_a_login_with_wechat(guarded: GatewayProcess, wechat: WeChat) -> None:
    code = user(wechat, unionid="u1")
    async with await WeChatClient.open(guarded) as client:
        response = await client.log_in(code)
        assert response["code"] == 0
        assert response["data"]["openid"].startswith("canary-openid")
        assert response["data"]["unionid"] == "u1"
        assert "session_key" not in str(response)
        assert (await client.chat("canary words 你好"))[-1]["code"] == 0
    _call, query, _ = wechat.named("jscode2session")[-1]
    assert query == {"appid": APPID, "secret": SECRET, "js_code": code, "grant_type": "authorization_code"}


async def test_a_refused_login_says_why_and_may_be_tried_again(guarded: GatewayProcess, wechat: WeChat) -> None:
    async with await WeChatClient.open(guarded) as client:
        response = await client.log_in("wrong")
        assert response == {
            "type": "login_response",
            "code": 400,
            "message": "微信登录失败: invalid code, rid: 1-2-3 (错误码: 40029)",
            "data": None,
        }
        assert (await client.chat("你好"))[-1]["code"] == 401
        assert (await client.log_in(user(wechat)))["code"] == 0


async def test_who_does_not_log_in_is_closed(guarded: GatewayProcess) -> None:
    async with await WeChatClient.open(guarded) as client:
        frame = await client.recv()
        assert (frame["type"], frame["code"], frame["message"]) == ("error", 401, "请先登录")
        assert await client.closed() == 4001


async def test_who_has_logged_in_or_resumed_stays(guarded: GatewayProcess, wechat: WeChat) -> None:
    async with (
        await WeChatClient.open(guarded, login=user(wechat)) as one,
        await WeChatClient.open(guarded) as two,
        await WeChatClient.open(guarded) as stranger,
    ):
        assert (await two.resume(one.resume_token))["code"] == 0
        assert await stranger.closed() == 4001
        assert (await two.ping())["type"] == (await one.ping())["type"] == "pong"
        assert (await two.chat("你好"))[-1]["data"]["session_id"] == one.session_id


async def test_a_session_is_entered_with_its_token_alone(guarded: GatewayProcess, wechat: WeChat) -> None:
    async with await WeChatClient.open(guarded, login=user(wechat)) as owner:
        await owner.chat("你好")
        token = owner.resume_token
    forged = ("x" if token[0] != "x" else "y") + token[1:]
    async with await WeChatClient.open(guarded) as client:
        # A foreign token looks exactly like one that never was.
        answers = [await client.resume(tried) for tried in (forged, owner.session_id, token[:-1], "x" * 5000)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == 401


async def test_an_applications_token_is_checked_where_it_is_sent(guarded: GatewayProcess, wechat: WeChat) -> None:
    async with await WeChatClient.open(guarded, headers={"Authorization": "Bearer wrong"}) as client:
        assert client.connected["code"] == 401
        assert await client.closed() == 4001
    headers = {"Authorization": f"Bearer {make_application(guarded).token}"}
    async with await WeChatClient.open(guarded, headers=headers, login=user(wechat)) as client:
        assert (await client.chat("你好"))[-1]["code"] == 0


async def test_the_session_is_not_open_on_another_wire(guarded: GatewayProcess, wechat: WeChat) -> None:
    async with await WeChatClient.open(guarded, login=user(wechat)) as client:
        await client.chat("你好")
        async with await PipelineClient.connect(
            guarded,
            token=make_application(guarded).token,
            session_id=client.session_id,
            resume_token=client.resume_token,
        ) as stranger:
            assert stranger.connected["message"] == "Session not found"


async def test_over_http_the_session_token_alone_is_the_user(guarded: GatewayProcess, wechat: WeChat) -> None:
    answer = await post(guarded, "login", {"code": user(wechat)})
    account = answer["data"]
    assert account["session_token"] == account["resume_token"]
    headers = {"Authorization": f"Bearer {account['session_token']}"}
    said = await post(guarded, "chat", {"query": "你好", "openid": "another"}, headers=headers)
    assert said["data"]["session_id"] == account["session_id"]
    refused = {"code": 401, "message": "请先登录", "data": None}
    for claimed in (account["openid"], "another"):
        assert await post(guarded, "chat", {"query": "你好", "openid": claimed}) == refused
    wrong = {"Authorization": f"Bearer {account['session_token'][:-1]}"}
    assert await post(guarded, "chat", {"query": "你好"}, headers=wrong) == refused
    by_application = {"Authorization": f"Bearer {make_application(guarded).token}"}
    claim = await post(guarded, "chat", {"query": "你好", "openid": account["openid"]}, headers=by_application)
    assert claim["code"] == 0
    assert claim["data"]["session_id"] != account["session_id"]


async def test_a_public_pipeline_answers_claimed_visitors(guarded: GatewayProcess, wechat: WeChat) -> None:
    account = (await post(guarded, "login", {"code": user(wechat)}))["data"]

    async def code_is(code: int) -> bool:
        answer = await post(guarded, "chat", {"query": "你好", "openid": account["openid"]})
        assert (answer["data"] or {}).get("session_id") != account["session_id"]
        return bool(answer["code"] == code)

    for public, code in ((1, 0), (0, 401)):
        change(guarded, f"UPDATE conversations_pipeline SET public = {public}")  # noqa: S608  a number of ours
        await eventually(lambda code=code: code_is(code), timeout=10, what=f"code {code}")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"ACCESS_MODE": "token"}, 500),
        ({"ACCESS_MODE": "token", "WECHAT_APPID": APPID}, 500),
        ({"WECHAT_APPID": APPID}, 500),
    ],
)
async def test_without_its_settings_nobody_logs_in(
    start_gateway: GatewayFactory, environment: dict[str, str], code: int
) -> None:
    gateway = start_gateway(environment=environment)
    async with await WeChatClient.open(gateway) as client:
        response = await client.log_in("c")
        assert (response["code"], response["message"]) == (code, "微信小程序配置未完成，请联系管理员")


async def test_wechat_at_a_private_address_is_not_asked(start_gateway: GatewayFactory, wechat: WeChat) -> None:
    environment: dict[str, Any] = {
        "WECHAT_APPID": APPID,
        "WECHAT_APP_SECRET": SECRET,
        "WECHAT_API_BASE": wechat.url,
        "ALLOW_PRIVATE_UPSTREAMS": "false",
    }
    gateway = start_gateway(environment=environment)
    before = len(wechat.calls)
    async with await WeChatClient.open(gateway) as client:
        response = await client.log_in("c")
        assert (response["code"], response["message"]) == (500, "请求微信API失败: 无法连接微信服务器")
    assert len(wechat.calls) == before


async def test_with_the_content_check_a_risky_question_is_not_stored(
    start_gateway: GatewayFactory, wechat: WeChat
) -> None:
    environment = {
        "WECHAT_APPID": APPID,
        "WECHAT_APP_SECRET": SECRET,
        "WECHAT_API_BASE": wechat.url,
        "WECHAT_CONTENT_CHECK": "true",
    }
    gateway = start_gateway(environment=environment)
    async with await WeChatClient.open(gateway, login=user(wechat)) as client:
        await client.send({"type": "chat", "query": "违禁", "id": "bad"})
        await client.send({"type": "chat", "query": "你好", "id": "good"})
        refused, processing, answer = [await client.recv() for _ in range(3)]
        assert refused == {
            "type": "chat_response",
            "code": 400,
            "message": "内容含有违规信息，请修改后重试",
            "data": {"request_id": "bad"},
        }
        assert processing["data"]["request_id"] == "good"
        assert answer["data"]["seq"] == 2, "the refused one was not stored"
        wechat.script("msg_sec_check", BUSY, BUSY, BUSY)
        away = (await client.chat("你好"))[-1]
        assert (away["code"], away["message"]) == (500, "处理失败: 内容安全检测暂时不可用，请稍后再试")
        assert (await post(gateway, "chat", {"query": "你好", "openid": "o"}))["code"] == 401
    assert "canary" not in gateway.log()
