"""The pipeline wire's REST calls."""

from typing import Any
from uuid import UUID

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers as drf
from rest_framework.request import Request
from rest_framework.response import Response

from connections import selectors as connection_selectors
from connections.audit import Action, note
from connections.auth import Principal, Scope, may, visitor_of
from connections.limits import per_hour
from connections.metrics import FEEDBACK
from conversations import selectors
from conversations.jobs import Reset, SaveFeedback
from conversations.responders.base import PipelineConfig
from conversations.turns import PipelineMissing
from conversations.types import (
    MessageStored,
    PipelineTopic,
    SessionKey,
    SessionReset,
    SessionTopic,
    SessionType,
    room_key,
)
from integrations import resume
from integrations.broadcasting import SESSION_TYPES, Audience
from integrations.errors import WireError
from integrations.langbot import rich, serializers
from integrations.langbot.handshake import NO_SUCH_SESSION, session_type_of
from integrations.langbot.protocol import stamp
from integrations.langbot.translate import WIRE, history_row
from integrations.limiting import TURNS_OF_VISITOR, admit, admit_call
from integrations.peers import RESUME_HEADER, Peer
from integrations.rest import PIPELINE_UUID, WireView, operation, success

SESSION_TYPE = OpenApiParameter(
    "session_type", OpenApiTypes.STR, OpenApiParameter.PATH, enum=list(serializers.SESSION_TYPES)
)
RESUME_TOKEN = OpenApiParameter(
    "X-Resume-Token",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The session's `resume_token`, in the place of the query's: logs keep addresses.",
)
OPEN_ACCESS = "anybody, by open access"  # whom the audit trail names where there is no application
VISITOR = "the visitor"
RESETS_OF_VISITOR = per_hour(60)


class PipelineView(WireView):
    """A call below one pipeline."""

    async def pipeline_for(
        self, request: Request, pipeline_uuid: str, scope: Scope
    ) -> tuple[Principal, PipelineConfig]:
        """Return the caller and the pipeline; credential first, so that a stranger learns nothing."""
        principal = await self.caller(request, scope)
        pipeline = await self.parts.catalogue.find(pipeline_uuid)
        if pipeline is None or principal.pipeline not in (None, pipeline.uuid):
            raise PipelineMissing
        return principal, pipeline

    async def visitor_for(self, request: Request, pipeline_uuid: str) -> tuple[Principal, PipelineConfig] | None:
        """Return a visitor and his pipeline where it is public and an allowed page asks without a credential."""
        await self.parts.ready()
        peer = Peer(request.scope, self.parts.options.trusted_proxies)  # type: ignore[attr-defined]
        if peer.token is not None or self.parts.options.open_access:
            return None
        if not (peer.is_own_page if peer.origin is None else self._origin_allowed(peer, None)):
            return None
        await admit_call(self.parts, peer)
        pipeline = await self.parts.catalogue.find(pipeline_uuid)
        return (visitor_of(pipeline.uuid), pipeline) if pipeline is not None and pipeline.public else None

    async def session_for(
        self,
        principal: Principal,
        pipeline: PipelineConfig,
        session_type: SessionType,
        request: Request,
        query: dict[str, Any],
    ) -> SessionKey | None:
        """Return the session that the query names, or None for all; raise WireError where the caller may not."""
        name = query.get("session_id")
        everything = principal.kind == "open" or may(principal, Scope.ADMIN)
        if name is None:
            if not everything:
                raise WireError("Forbidden", status=403)
            return None
        token = request.headers.get(RESUME_HEADER) or query.get("resume_token", "")
        if session_type == "group":
            room = room_key(pipeline.uuid, name)
            if principal.kind == "visitor" and not resume.is_valid(token, room):
                raise WireError(NO_SUCH_SESSION, status=404)
            return room
        try:
            key = SessionKey(UUID(name), pipeline.uuid, "person")
        except ValueError:
            raise WireError(NO_SUCH_SESSION, status=404) from None
        if everything or resume.is_valid(token, key):
            return key
        if principal.application is None:  # as are the sessions of all visitors
            raise WireError(NO_SUCH_SESSION, status=404)
        state = await self.parts.store.read(selectors.session_state, key.uuid)
        if state is None or state.key != key or state.application != principal.application:
            raise WireError(NO_SUCH_SESSION, status=404)
        return key


class MessagesView(PipelineView):
    """The history."""

    @operation(
        "list_messages",
        "Messages of a session, or of all",
        serializers.Messages,
        parameters=[PIPELINE_UUID, SESSION_TYPE, RESUME_TOKEN, serializers.HistoryQuery],
        tags=["chat"],
    )
    async def get(self, request: Request, pipeline_uuid: str, session_type: str) -> Response:
        """Return the newest messages, oldest first."""
        visitor = await self.visitor_for(request, pipeline_uuid)
        principal, pipeline = visitor or await self.pipeline_for(request, pipeline_uuid, Scope.READ)
        kind = session_type_of(session_type)
        query = _checked(serializers.HistoryQuery, request.query_params)
        session = await self.session_for(principal, pipeline, kind, request, query)
        read = self.parts.store.read
        of_one = {name: query[name] for name in ("after_seq", "before_seq") if name in query}
        limit = query["limit"]
        if session is not None and "rich" in query:
            return success({"messages": await read(rich.history, session, **of_one, limit=limit)})
        if session is not None:
            found = await read(selectors.session_history, session, **of_one, limit=limit)
        elif of_one or "rich" in query:
            raise WireError(f"{next(iter(of_one), 'rich')} needs session_id")
        else:
            found = await read(selectors.pipeline_history, pipeline.uuid, kind, limit=limit)
        return success({"messages": [history_row(message) for message in found]})


class ResetView(PipelineView):
    """A new beginning."""

    @operation(
        "reset_sessions",
        "Reset a session, or all",
        serializers.Done,
        request=serializers.ResetQuery,
        parameters=[PIPELINE_UUID, SESSION_TYPE, RESUME_TOKEN, serializers.ResetQuery],
        tags=["chat"],
    )
    async def post(self, request: Request, pipeline_uuid: str, session_type: str) -> Response:
        """Begin history and model memory anew; sockets stay, and the old transcript stays for staff."""
        visitor = await self.visitor_for(request, pipeline_uuid)
        principal, pipeline = visitor or await self.pipeline_for(request, pipeline_uuid, Scope.WRITE)
        kind = session_type_of(session_type)
        if visitor and kind == "group":
            raise WireError("Forbidden", status=403)  # a room is everybody's
        # Who names a session in the body means that one, not all of them.
        body = request.data if isinstance(request.data, dict) else {}
        query = _checked(serializers.ResetQuery, {**body, **request.query_params.dict()})
        session = await self.session_for(principal, pipeline, kind, request, query)
        actor = principal.application or OPEN_ACCESS
        if visitor and session:
            await admit(self.parts.limiter, RESETS_OF_VISITOR, f"{WIRE}.reset", str(session.uuid))
            actor = VISITOR
        begun = await self.parts.store.write(Reset(pipeline.id, kind, session.uuid if session else None, actor))
        topic = SessionTopic(session.uuid) if session else PipelineTopic(pipeline.uuid, kind)
        self.parts.hub.publish(topic, SessionReset(begun.first_id))
        for concerned, turn in begun.turns:  # what is asked next would wait for answers that nobody wants
            self.parts.turns.stop(concerned, turn=turn)
        for notice in begun.notices:
            self.parts.hub.publish(SessionTopic(notice.session), MessageStored(notice))
        return success({"message": "Session reset successfully"})


class FeedbackView(PipelineView):
    """What is thought of an answer."""

    @operation(
        "give_feedback",
        "Say what one thinks of an answer",
        serializers.Done,
        request=serializers.Feedback,
        parameters=[PIPELINE_UUID, SESSION_TYPE, RESUME_TOKEN, serializers.SessionQuery],
        tags=["chat"],
    )
    async def post(self, request: Request, pipeline_uuid: str, session_type: str) -> Response:
        """Note what the visitor thinks of an answer: one opinion an answer, the last one counts."""
        visitor = await self.visitor_for(request, pipeline_uuid)
        principal, pipeline = visitor or await self.pipeline_for(request, pipeline_uuid, Scope.WRITE)
        kind = session_type_of(session_type)
        session = await self.session_for(
            principal, pipeline, kind, request, _checked(serializers.SessionQuery, request.query_params)
        )
        assert session is not None  # the query names it
        given = _checked(serializers.Feedback, request.data)
        await admit(self.parts.limiter, TURNS_OF_VISITOR, f"{WIRE}.feedback", str(session.uuid))
        if not await self.parts.store.write(SaveFeedback(session.uuid, given["message_id"], given["value"])):
            raise WireError("Message not found", status=404)
        self.parts.metrics.count(FEEDBACK, given["value"] or "none")
        return success({"message": "Feedback saved"})


class ConnectionsView(PipelineView):
    """Who is here."""

    @operation(
        "list_connections", "Live connections", serializers.Connections, parameters=[PIPELINE_UUID], tags=["chat"]
    )
    async def get(self, request: Request, pipeline_uuid: str) -> Response:
        """Return statistics of the whole deployment and the connections of this pipeline."""
        _, pipeline = await self.pipeline_for(request, pipeline_uuid, Scope.READ)
        read = self.parts.store.read
        statistics = await read(connection_selectors.live_statistics)
        rows = await read(connection_selectors.live_connections, pipeline.uuid)
        return success(
            {
                "stats": msgspec.to_builtins(statistics, str_keys=True),
                "connections": [
                    {
                        "connection_id": str(row.connection_id),
                        "session_type": row.session_type,
                        "created_at": stamp(row.created_at),
                        "last_active": stamp(row.last_active),
                        "is_active": True,
                    }
                    for row in rows
                ],
            }
        )


class BroadcastView(PipelineView):
    """Words to everybody."""

    @operation(
        "broadcast",
        "Broadcast to every socket of a pipeline",
        serializers.BroadcastDone,
        request=serializers.Broadcast,
        parameters=[PIPELINE_UUID],
        tags=["chat"],
    )
    async def post(self, request: Request, pipeline_uuid: str) -> Response:
        """Send a message to every socket of the pipeline, in every process."""
        principal, pipeline = await self.pipeline_for(request, pipeline_uuid, Scope.BROADCAST)
        body = request.data if isinstance(request.data, dict) else {}
        if body.get("message") in (None, "", [], {}):
            raise WireError("message is required")
        kinds = (session_type_of(body["session_type"]),) if "session_type" in body else SESSION_TYPES
        audience = Audience((pipeline.uuid,), kinds)
        recipients = await self.parts.store.read(audience.count)
        # Recorded first: what cannot be recorded is not done.
        await note(
            self.parts.store,
            Action.BROADCAST,
            actor=principal.application or OPEN_ACCESS,
            subject=f"{pipeline.name}; {' and '.join(kinds)} sessions",
            details=f"to {recipients} live connections",
        )
        words = audience.words(body["message"])
        for topic in audience.topics:
            self.parts.hub.publish(topic, words)
        return success({"message": "Broadcast sent successfully", "recipients": recipients})


class PipelinesView(WireView):
    """What there is to talk to."""

    @operation("list_pipelines", "Pipelines", serializers.Pipelines, tags=["chat"])
    async def get(self, request: Request) -> Response:
        """Return the pipelines that the caller may use."""
        principal = await self.caller(request, Scope.READ)
        rows = [
            {
                "uuid": str(pipeline.uuid),
                "name": pipeline.name,
                "description": pipeline.description,
                "is_default": pipeline.is_default,
            }
            for pipeline in self.parts.catalogue.all()
            if principal.pipeline in (None, pipeline.uuid)
        ]
        return success({"pipelines": rows})


def _checked(kind: type[drf.Serializer[Any]], data: Any) -> dict[str, Any]:
    serializer = kind(data=data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
