"""The WeChat wire's HTTP calls: the status is always 200, the code is in the body."""

import asyncio
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.http import Http404, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from connections.auth import Principal, Scope, may
from conversations.responders.base import PipelineConfig
from conversations.turns import PipelineMissing
from conversations.types import Question, SessionKey
from integrations import resume
from integrations.access import admitted, pipeline_of
from integrations.answers import asked
from integrations.errors import WireError, fault_of
from integrations.limiting import SESSION_TURN, TURNS_OF_VISITOR, admit, admit_call, admit_turn, placed
from integrations.peers import Peer
from integrations.rest import StrictJSONParser, WireView
from integrations.wechat import serializers
from integrations.wechat.accounts import WIRE, Accounts, claimed_session, session_of
from integrations.wechat.consumers import LOG_IN_FIRST, LOGINS
from integrations.wechat.protocol import NOT_JSON, Account, Body, call_of, code_of, is_wechat
from integrations.wechat.translate import answer_body, failure_body

log = structlog.get_logger(__name__)

ANSWER_PATIENCE = 57.0  # seconds for an answer, those before it in its session included; a mini program waits 60
INVALID = "请求无效"
_REFUSALS = {400: NOT_JSON, 404: "接口不存在", 405: "请求方法不支持", 413: "请求内容过大"}


class WeChatParser(StrictJSONParser):
    """Reads a strict JSON body whatever its content type."""

    media_type = "*/*"

    @property
    def limit(self) -> int:
        """The largest body that is taken, in bytes: as large as a frame of this wire."""
        return settings.MAX_SMALL_FRAME_BYTES


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Return a failure in this wire's shape; what nobody foresaw is logged."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, exceptions.APIException):
        return _response(Body(error.status_code, _REFUSALS.get(error.status_code, INVALID)))
    fault = fault_of(error)
    if not fault.expected:
        log.error("request.error", view=type(context.get("view")).__name__, exc_info=error)
    return _response(failure_body(fault, failed=isinstance(context.get("view"), ChatView)))


class WeChatView(WireView):
    """A call whose answer is always 200."""

    parser_classes = (WeChatParser,)
    accounts: Accounts = None  # type: ignore[assignment]  # a place for `as_view(accounts=…)` to fill

    def get_exception_handler(self) -> Any:
        """Return who turns an exception into a response."""
        return exception_handler

    async def peer_of(self, request: Request) -> Peer:
        """Return who calls; raise WireError where the page that he calls from may not (S1)."""
        await self.parts.ready()
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]  # ASGI's
        await admit_call(self.parts, peer)
        if not is_wechat(peer.origin):
            principal = await self.parts.authenticator.identify(peer.token)
            if not self._origin_allowed(peer, principal):
                raise WireError("来源不被允许", status=403)
        return peer

    async def admit(self, limit: Any, what: str, who: str) -> None:
        """Count one `what` of `who`; raise Limited where that is too much."""
        await admit(self.parts.limiter, limit, f"{WIRE}.{what}", who)

    async def application_of(self, peer: Peer) -> Principal | None:
        """Return the application whose token was sent, in open mode everybody, else None."""
        principal = await self.parts.authenticator.identify(peer.token)
        return None if principal is None else admitted(principal, WIRE)

    def pipeline_of(self, principal: Principal | None) -> PipelineConfig:
        """Return the pipeline of an application, else the default one; raise PipelineMissing."""
        if principal is not None:
            return pipeline_of(self.parts, principal)
        default = self.parts.catalogue.default()
        if default is None:
            raise PipelineMissing
        return default


class LoginView(WeChatView):
    """A login."""

    @extend_schema(
        operation_id="wechat_login",
        summary="Log a mini program's user in",
        request=serializers.WeChatLogin,
        responses=serializers.WeChatLoginBody,
        tags=["wechat"],
    )
    async def post(self, request: Request) -> Response:
        """Return who the code stands for, and a token for further calls."""
        peer = await self.peer_of(request)
        code = code_of(request.data)
        await self.admit(LOGINS, "login", peer.network)
        pipeline = self.pipeline_of(await self.application_of(peer))
        account = await self.accounts.log_in(code)
        session = session_of(pipeline.uuid, account)
        token = resume.issue_named(session, WIRE, account.openid)
        data = Account(
            account.openid, str(session.uuid), resume_token=token, unionid=account.unionid, session_token=token
        )
        return _response(Body(0, "登录成功", data))


class ChatView(WeChatView):
    """A question."""

    @extend_schema(
        operation_id="wechat_chat",
        summary="Ask, and wait for the answer",
        request=serializers.WeChatChat,
        responses=serializers.WeChatChatBody,
        tags=["wechat"],
    )
    async def post(self, request: Request) -> Response:
        """Return the whole answer."""
        peer = await self.peer_of(request)
        call = call_of(request.data)
        if not call.query.strip():
            raise WireError("缺少query参数")
        session, principal, openid = await self._session_of(peer, call.openid.strip())
        # A claimed openid costs nothing: who makes them up is counted by his address.
        await self.admit(TURNS_OF_VISITOR, SESSION_TURN, str(session.uuid) if openid else peer.network)
        await admit_turn(self.parts, principal.application if principal else None)
        await self.accounts.check(call.query, openid)
        question = Question(
            session=session,
            wire=WIRE,
            text=call.query,
            application=principal.application if principal else None,
            stream=False,
            recall=True if call.use_auto_rag else None,
            needs_end=True,
        )
        until = asyncio.get_running_loop().time() + ANSWER_PATIENCE
        with placed(self.parts, peer):
            async with asked(self.parts, question) as following:
                async for _ in following.texts(until):
                    pass
        assert following.answer is not None
        return _response(answer_body(following.answer))

    async def _session_of(self, peer: Peer, claimed: str) -> tuple[SessionKey, Principal | None, str]:
        """Return the session, the application if any, and the openid where it is verified."""
        named = resume.open_named(peer.token, WIRE) if peer.token else None
        if named is not None:
            return named.session, None, named.holder
        principal = await self.application_of(peer)
        pipeline = self.pipeline_of(principal)
        if principal is None and (peer.token is not None or not pipeline.public):
            raise WireError(LOG_IN_FIRST, status=401)
        if principal is not None and principal.kind == "open" and resume.looks_named(peer.token or ""):
            # Everybody may ask, but a user whose token is damaged or too old must not find himself in a new session.
            raise WireError(LOG_IN_FIRST, status=401)
        if principal is not None and not may(principal, Scope.WRITE):
            raise WireError("没有权限", status=403)
        return claimed_session(pipeline.uuid, claimed), principal, ""


class HealthView(WeChatView):
    """A sign of life."""

    @extend_schema(
        operation_id="wechat_health",
        summary="A sign of life",
        responses=serializers.WeChatHealthBody,
        tags=["wechat"],
    )
    async def get(self, request: Request) -> Response:
        """Return that the service is there."""
        now = timezone.now().astimezone(UTC).isoformat(timespec="milliseconds")
        return Response({"code": 0, "message": "服务正常", "timestamp": now})


def bad_request() -> HttpResponse:
    """Return the answer to what is refused before any call is reached."""
    return HttpResponse(msgspec.json.encode(Body(400, INVALID)), content_type="application/json")


def _response(body: Body) -> Response:
    return Response(msgspec.to_builtins(body))
