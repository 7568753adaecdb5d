"""Tells sockets and processes of what was done outside the gateway's loop, as by the admin's pages: over the layer."""

import asyncio
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from connections.events import ConnectionsTopic, EndConnections
from connections.relay import envelope, group_name
from conversations.types import ControlTopic, MessageStored, SessionTopic, StopRequested

log = structlog.get_logger(__name__)

PATIENCE = 2.0  # seconds that the layer may take; without it a socket hears with the next look, or when it resumes


def announce(event: MessageStored | StopRequested | EndConnections, **_signal: Any) -> None:
    """Send an event to every member of its topic, in every process."""
    try:
        async_to_sync(_send)(event)
    except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; what was said is stored
        log.warning("announcing.failed", error=type(error).__name__)


async def _send(event: MessageStored | StopRequested | EndConnections) -> None:
    from chatgateway.routing import EventCodec  # noqa: PLC0415  builds the gateway, for which Django must be set up

    topic = _topic_of(event)
    layer: Any = get_channel_layer()
    async with asyncio.timeout(PATIENCE):
        await layer.group_send(group_name(topic), envelope(EventCodec(), topic, event))


def _topic_of(event: MessageStored | StopRequested | EndConnections) -> SessionTopic | ControlTopic | ConnectionsTopic:
    match event:
        case MessageStored():
            return SessionTopic(event.message.session)
        case StopRequested():
            return ControlTopic()
        case EndConnections():
            return ConnectionsTopic()
