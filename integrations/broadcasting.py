"""Words to everybody: whom a broadcast is for, how many they are, and what they are told."""

from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone

from connections.selectors import live_count
from conversations.types import Broadcast, PipelineTopic, SessionType
from integrations.capabilities import CAPABILITIES

WIRES = tuple(wire for wire, can in CAPABILITIES.items() if can.broadcast)
SESSION_TYPES: tuple[SessionType, ...] = ("person", "group")


class Audience(msgspec.Struct, frozen=True):
    """The sockets of some pipelines, of some session types, of one wire or, without, of all that can broadcast."""

    pipelines: tuple[UUID, ...]
    session_types: tuple[SessionType, ...] = SESSION_TYPES
    wire: str = ""

    @property
    def topics(self) -> list[PipelineTopic]:
        """Where its sockets are told."""
        return [PipelineTopic(pipeline, kind) for pipeline in self.pipelines for kind in self.session_types]

    def count(self) -> int:
        """Count its live connections. Synchronous."""
        return live_count(self.pipelines, self.session_types, (self.wire,) if self.wire else WIRES)

    def words(self, message: Any) -> Broadcast:
        """Return the event that tells `message`, which is any JSON, now."""
        return Broadcast(msgspec.Raw(msgspec.json.encode(message)), timezone.now(), self.wire)
