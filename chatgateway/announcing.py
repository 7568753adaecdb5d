"""Tells sockets and processes of what was done outside the gateway's loop, as by the admin's pages: over the layer."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from chatgateway.live.events import Changed, StaffTopic
from connections.events import ConnectionsTopic, EndConnections
from connections.relay import envelope, group_name
from connections.room import Event, Topic
from conversations.types import Broadcast, ControlTopic, MessageStored, PipelineTopic, SessionTopic, StopRequested

log = structlog.get_logger(__name__)

Announced = MessageStored | StopRequested | EndConnections

PATIENCE = 2.0  # seconds that the layer may take; without it a socket hears with the next look, or when it resumes


def announce(event: Announced, **_signal: Any) -> bool:
    """Send an event to every member of its topic, in every process; tell whether the layer took it.

    Staff's pages hear of what was said.
    """
    woken = [Changed("conversations")] if isinstance(event, MessageStored) else []
    return _tell(event, *woken)


def take_note(event: Announced, **_signal: Any) -> None:
    """Have this process's gateway count what was said, and deliver it where no socket listens."""
    from chatgateway.routing import gateway  # noqa: PLC0415  builds the gateway, for which Django must be set up

    gateway.on_said(event)


def announce_change(**_signal: Any) -> None:
    """Tell staff's pages, in every process, that something of a conversation changed."""
    _tell(Changed("conversations"))


def announce_to(topics: Sequence[PipelineTopic], event: Broadcast) -> bool:
    """Send words to every socket of those topics; tell whether the layer took all of it."""
    return _sent([(topic, event) for topic in topics])


def _tell(*events: Announced | Changed) -> bool:
    return _sent([(_topic_of(event), event) for event in events])


def _sent(told: Sequence[tuple[Topic, Event]]) -> bool:
    try:
        async_to_sync(_send)(told)
    except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; what was said is stored
        log.warning("announcing.failed", error=type(error).__name__)
        return False
    return True


async def _send(told: Sequence[tuple[Topic, Event]]) -> None:
    from chatgateway.routing import EventCodec  # noqa: PLC0415  builds the gateway, for which Django must be set up

    layer: Any = get_channel_layer()
    async with asyncio.timeout(PATIENCE):
        for topic, event in told:
            await layer.group_send(group_name(topic), envelope(EventCodec(), topic, event))


def _topic_of(event: Announced | Changed) -> Topic:
    match event:
        case MessageStored():
            return SessionTopic(event.message.session)
        case StopRequested():
            return ControlTopic()
        case EndConnections():
            return ConnectionsTopic()
        case Changed():
            return StaffTopic()
