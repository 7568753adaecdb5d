"""Who logs in, and which session is whose. An openid never leaves this wire: sessions are derived from it."""

import hashlib
from uuid import UUID, uuid4

import structlog

from conversations.types import SessionKey, own_session
from integrations.errors import WireError
from integrations.wechat.api import Account, WeChatAPI

log = structlog.get_logger(__name__)

WIRE = "wechat"
SIMULATED = "dev-"  # what the openids of simulated logins begin with
NOT_CONFIGURED = "微信小程序配置未完成，请联系管理员"


class Accounts:
    """Logs users in: with WeChat, or where `simulated` as whoever their code says.

    Without `api` and not simulated, nobody can log in. With `checked`, questions go through WeChat's content check.
    """

    def __init__(self, api: WeChatAPI | None, *, simulated: bool, checked: bool, login_timeout: float | None) -> None:
        self._api = api
        self._simulated = simulated
        self._warned = False
        self.checked = checked
        self.login_timeout = login_timeout

    async def log_in(self, code: str) -> Account:
        """Return whose code it is; raise WireError as the client is to be told."""
        code = code.strip()
        if not code:
            raise WireError("缺少code参数")
        if self._api is not None:
            return await self._api.code2session(code)
        if not self._simulated:
            raise WireError(NOT_CONFIGURED, status=500)
        if not self._warned:
            self._warned = True
            log.warning("wechat.login_simulated", means="any code logs in; set WECHAT_APPID and WECHAT_APP_SECRET")
        return Account(f"{SIMULATED}{hashlib.sha256(code.encode()).hexdigest()[:24]}")

    async def check(self, text: str, openid: str) -> None:
        """Raise WireError where the text may not be said, or where nobody can tell."""
        if not self.checked or self._api is None:
            return
        if not openid:
            raise WireError("请先登录", status=401)
        try:
            risky = await self._api.is_risky(text, openid)
        except WireError as error:
            raise WireError("内容安全检测暂时不可用，请稍后再试", status=503, retry_after=5) from error
        if risky:
            raise WireError("内容含有违规信息，请修改后重试", status=400)


def shown_name(openid: str) -> str:
    """Return what staff calls a user who has logged in, which is not his whole openid."""
    return f"{'unverified' if openid.startswith(SIMULATED) else 'verified'} user {openid[-4:]}"


def session_of(pipeline: UUID, account: Account) -> SessionKey:
    """Return the session of a user who has logged in."""
    return own_session(pipeline, WIRE, "user", account.openid)


def claimed_session(pipeline: UUID, openid: str) -> SessionKey:
    """Return the session of whoever says to be `openid`, which is never that user's own; without one a fresh one."""
    if not openid:
        return SessionKey(uuid4(), pipeline, "person")
    return own_session(pipeline, WIRE, "claim", openid)
