"""Calls to WeChat's servers: whom a login code stands for, and whether a text may be said.

The URLs carry the app's secret, codes and access tokens: nothing of a call is ever logged but its name and its error's.
`session_key` is not even read.
"""

import asyncio
import time
from typing import Any

import httpx2
import msgspec
import structlog

from conversations.responders.upstream import ForbiddenAddress
from integrations.errors import WireError

log = structlog.get_logger(__name__)

CONNECT = 5.0  # seconds to open a connection
PATIENCE = 10.0  # seconds for one call, with all it takes
RETRY_AFTER = (0.2, 0.6)  # seconds before what certainly had no effect is sent again
LARGEST_ANSWER = 64 * 1024
LONGEST_ERRMSG = 200
PIECE = 2500  # characters that one content check takes
TOKEN_RESERVE = 300.0  # seconds before its end in which an access token is not used any more
COMMENT = 2  # the scene of a content check that a question comes closest to

BUSY = -1
_CONFIGURATION = {40013, 40125, 40164, 41002, 41004}  # appid, secret, our address is not listed, either is missing
_STATUS = {BUSY: 503, 40226: 403, 45011: 429}
_STALE_TOKEN = {40001, 40014, 42001}
_RISKY = 87014
_NOT_OPENED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Account(msgspec.Struct, frozen=True):
    """Who a mini program's user is to this app, and to all apps of its owner."""

    openid: str
    unionid: str | None = None


class Unreachable(WireError):  # noqa: N818  names a state
    """WeChat could not be asked, or did not answer in its own way."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"请求微信API失败: {reason}", status=500)


class WeChatAPI:
    """One app's calls. `client` checks addresses and logs nothing."""

    def __init__(
        self, client: httpx2.AsyncClient, *, base: str, appid: str, secret: str, patience: float = PATIENCE
    ) -> None:
        self._client = client
        self._patience = patience
        self._base = base.rstrip("/")
        self._appid = appid
        self._secret = secret
        self._token = ""
        self._token_until = 0.0
        self._renewing = asyncio.Lock()

    async def code2session(self, code: str) -> Account:
        """Return whom a login code stands for; raise WireError as the client is to be told."""
        query = {"appid": self._appid, "secret": self._secret, "js_code": code, "grant_type": "authorization_code"}
        answer = await self._call("GET", "/sns/jscode2session", query)
        number = _errcode(answer)
        if number != 0:
            raise _refused(number, answer)
        openid, unionid = answer.get("openid"), answer.get("unionid")
        if not isinstance(openid, str) or not openid:
            raise Unreachable("微信服务器没有返回openid")
        return Account(openid, unionid if isinstance(unionid, str) and unionid else None)

    async def is_risky(self, text: str, openid: str) -> bool:
        """Tell whether WeChat's content check objects to any part of a text; raise WireError where it cannot tell."""
        for start in range(0, len(text), PIECE):
            if await self._is_risky(text[start : start + PIECE], openid):
                return True
        return False

    async def _is_risky(self, piece: str, openid: str) -> bool:
        answer = await self._check(piece, openid)
        if _errcode(answer) in _STALE_TOKEN:  # it ended before its time
            self._token = ""
            answer = await self._check(piece, openid)
        number = _errcode(answer)
        if number == _RISKY:
            return True
        if number != 0:
            log.warning("wechat.check_refused", errcode=number)
            raise Unreachable(f"错误码 {number}")
        result = answer.get("result")
        return isinstance(result, dict) and result.get("suggest") == "risky"

    async def _check(self, piece: str, openid: str) -> dict[str, Any]:
        content = {"version": 2, "scene": COMMENT, "openid": openid, "content": piece}
        token = await self._access_token()
        return await self._call("POST", "/wxa/msg_sec_check", {"access_token": token}, content)

    async def _access_token(self) -> str:
        async with self._renewing:
            if not self._token or time.monotonic() >= self._token_until:
                body = {"grant_type": "client_credential", "appid": self._appid, "secret": self._secret}
                answer = await self._call("POST", "/cgi-bin/stable_token", {}, body)
                token, lifetime = answer.get("access_token"), answer.get("expires_in")
                if not isinstance(token, str) or not token or not isinstance(lifetime, int):
                    number = _errcode(answer)
                    log.error("wechat.no_access_token", errcode=number)
                    raise Unreachable(f"错误码 {number}")
                self._token, self._token_until = token, time.monotonic() + max(lifetime - TOKEN_RESERVE, 1.0)
            return self._token

    async def _call(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return WeChat's answer; what certainly had no effect is tried again, and nothing else.

        That is a connection that could not be opened, and WeChat's word that it is busy.
        """
        for pause in (*RETRY_AFTER, None):
            try:
                async with asyncio.timeout(self._patience):
                    answer = await self._send(method, path, query, body)
            except _NOT_OPENED as error:
                if pause is None or isinstance(error, ForbiddenAddress):
                    raise _unreachable(path, error, "无法连接微信服务器") from None
            except (TimeoutError, httpx2.TimeoutException) as error:
                raise _unreachable(path, error, "微信服务器响应超时") from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise _unreachable(path, error, "与微信服务器的通信中断") from None
            else:
                if pause is None or _errcode(answer) != BUSY:
                    return answer
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None) -> dict[str, Any]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content else None
        timeout = httpx2.Timeout(self._patience, connect=CONNECT)
        url = f"{self._base}{path}"
        data = b""
        async with self._client.stream(
            method, url, params=query, content=content, headers=headers, timeout=timeout
        ) as response:
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > LARGEST_ANSWER:
                    break
        try:
            # Whatever its content type: WeChat says text/plain.
            answer = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable("微信服务器返回了无法识别的内容")
        return answer


def _unreachable(path: str, error: Exception, reason: str) -> Unreachable:
    # Only its name: an error's text may hold the URL, and with it the secret.
    log.warning("wechat.unreachable", call=path.rsplit("/", 1)[1], error=type(error).__name__)
    return Unreachable(reason)


def _errcode(answer: dict[str, Any]) -> int:
    number = answer.get("errcode", 0)
    if not isinstance(number, int):
        raise Unreachable("微信服务器返回了无法识别的内容")
    return number


def _refused(number: int, answer: dict[str, Any]) -> WireError:
    """Return what a client is told of WeChat's refusal of a login."""
    said = answer.get("errmsg")
    errmsg = said[:LONGEST_ERRMSG] if isinstance(said, str) and said else "未知错误"
    status = _STATUS.get(number, 400)
    if number in _CONFIGURATION:
        log.error("wechat.configuration_refused", errcode=number, means="check WECHAT_APPID and WECHAT_APP_SECRET")
        status = 500
        if number == 40164:  # names our address
            errmsg = "小程序配置有误，请联系管理员"
    return WireError(f"微信登录失败: {errmsg} (错误码: {number})", status=status)
