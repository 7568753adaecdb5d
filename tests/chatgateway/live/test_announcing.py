"""What admin threads do reaches staff's pages over the layer."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer

from chatgateway.live.events import Changed, StaffTopic
from chatgateway.routing import EventCodec
from connections.relay import group_name
from conversations import signals
from conversations.types import MessageStored, Role, SessionTopic, StoredMessage

CHANGED = Changed("conversations")


async def listen(*topics: Any) -> tuple[Any, str]:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    for topic in topics:
        await layer.group_add(group_name(topic), channel)
    return layer, channel


async def test_what_staff_says_is_told_to_its_conversation_and_wakes_pages() -> None:
    said = MessageStored(StoredMessage(7, uuid4(), "person", 3, Role.OPERATOR, "hello", datetime.now(UTC)))
    layer, channel = await listen(SessionTopic(said.message.session), StaffTopic())
    await sync_to_async(signals.said.send)(sender=None, event=said)
    told = [EventCodec().decode((await layer.receive(channel))["event"]) for _ in range(2)]
    assert told == [said, CHANGED]


async def test_what_staff_changes_without_words_wakes_pages() -> None:
    layer, channel = await listen(StaffTopic())
    await sync_to_async(signals.changed.send)(sender=None)
    assert EventCodec().decode((await layer.receive(channel))["event"]) == CHANGED
