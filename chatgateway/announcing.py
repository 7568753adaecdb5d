"""Tells open sockets of what was stored outside the gateway's loop, as by a page of the admin: over the layer."""

import asyncio
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from connections.relay import envelope, group_name
from conversations.types import ControlTopic, MessageStored, SessionTopic, StopRequested

log = structlog.get_logger(__name__)

PATIENCE = 2.0  # seconds that the layer may take; without it a socket hears with the next look, or when it resumes


def announce(event: MessageStored | StopRequested, **_signal: Any) -> None:
    """Send an event to every member of its topic, in every process."""
    try:
        async_to_sync(_send)(event)
    except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; what was said is stored
        log.warning("announcing.failed", error=type(error).__name__)


async def _send(event: MessageStored | StopRequested) -> None:
    from chatgateway.routing import EventCodec  # noqa: PLC0415  builds the gateway, for which Django must be set up

    topic = SessionTopic(event.message.session) if isinstance(event, MessageStored) else ControlTopic()
    layer: Any = get_channel_layer()
    async with asyncio.timeout(PATIENCE):
        await layer.group_send(group_name(topic), envelope(EventCodec(), topic, event))
