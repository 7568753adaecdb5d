"""Between processes: events out to the Channels layer, and in from it.

Each process has ONE channel, which joins the Channels group of a topic when the topic gets its first member here and
leaves it with the last. Where the layer is away the process goes on alone, and keeps trying.

Bounds: OUTGOING events wait to be sent; beyond them an event is dropped and counted.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from connections.room import Counts, Event, Topic

log = structlog.get_logger(__name__)

OUTGOING = 10_000
LAYER_PATIENCE = 2.0  # seconds that a join waits for the layer; without it the hub goes on alone and retries
LAYER_RETRY = 0.5
PROBED = "gateway.probed"  # a group that nobody is in


class Codec(Protocol):
    """Carries topics' events between processes."""

    def encode(self, event: Any) -> bytes: ...
    def decode(self, data: bytes) -> Event: ...


class Layer(Protocol):
    """What the relay uses of a Channels layer."""

    async def new_channel(self) -> str: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


def group_name(topic: Topic) -> str:
    """Return the Channels group of a topic; hashed, because names hold `/` and any Unicode."""
    return "gateway." + hashlib.sha256(topic.name.encode()).hexdigest()[:48]


def envelope(codec: Codec, topic: Topic, event: Event, origin: str = "") -> dict[str, Any]:
    """Return the layer message that delivers `event` to every member of `topic` in every process but `origin`."""
    return {"type": "gateway.event", "group": group_name(topic), "origin": origin, "event": codec.encode(event)}


class Relay:
    """This process's end of the layer; it works while `listen`, `keep_groups` and `send` do."""

    def __init__(self, layer: Layer, codec: Codec, counts: Counts) -> None:
        self.in_step = asyncio.Event()  # the layer knows the topics here
        self._layer = layer
        self._codec = codec
        self._counts = counts
        self._channel = ""
        self._away = False
        self._outgoing: asyncio.Queue[tuple[Topic, Event]] = asyncio.Queue(OUTGOING)
        self._wanted: dict[str, Callable[[Event], None]] = {}  # group → who is told
        self._joined: set[str] = set()
        self._unsettled: dict[str, None] = {}  # groups whose membership may have to change
        self._changed = asyncio.Event()

    def enter(self, topic: Topic, tell: Callable[[Event], None]) -> None:
        """Call `tell` with the events that other processes publish on `topic`."""
        group = group_name(topic)
        self._wanted[group] = tell
        self._regroup(group)

    def leave(self, topic: Topic) -> None:
        """Hear of `topic` no more."""
        group = group_name(topic)
        del self._wanted[group]
        self._regroup(group)

    async def ready(self) -> None:
        """Wait until the layer knows this process's topics: no longer than LAYER_PATIENCE, nor where it is away."""
        if self.in_step.is_set() or self._away:
            return
        try:
            async with asyncio.timeout(LAYER_PATIENCE):
                await self.in_step.wait()
        except TimeoutError:
            log.warning("hub.alone", reason="the layer does not answer")

    def put(self, topic: Topic, event: Event) -> None:
        """Send `event` to the other processes, as soon as the layer takes it."""
        try:
            self._outgoing.put_nowait((topic, event))
        except asyncio.QueueFull:
            self._counts.dropped += 1

    # --- The work --------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Tell what comes from the layer, for ever."""
        while True:
            try:
                if not self._channel:
                    self._channel = await self._layer.new_channel()
                    self._changed.set()
                    self._answers()
                message = await self._layer.receive(self._channel)
                self._receive(message)
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                self._failed("receive", error)
                await asyncio.sleep(LAYER_RETRY)

    async def keep_groups(self) -> None:
        """Keep the layer's groups what the topics here are, for ever; one task, so joins and leaves never cross."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._channel:
                continue
            try:
                while self._unsettled:
                    await self._settle_group(next(iter(self._unsettled)))
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                self._failed("groups", error)
                await asyncio.sleep(LAYER_RETRY)
                self._changed.set()
            else:
                self.in_step.set()

    async def send(self) -> None:
        """Send what was `put`, for ever."""
        while True:
            topic, event = await self._outgoing.get()
            try:
                await self._layer.group_send(group_name(topic), envelope(self._codec, topic, event, self._channel))
                self._answers()
            except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
                # What waits behind it would come when it is long read from the database.
                self._counts.dropped += 1 + self._outgoing.qsize()
                while not self._outgoing.empty():
                    self._outgoing.get_nowait()
                self._failed("send", error)

    async def probe(self) -> None:
        """Find out whether the layer answers, also while there is nothing to tell."""
        try:
            async with asyncio.timeout(LAYER_PATIENCE):
                await self._layer.group_send(PROBED, {"type": "gateway.probe"})
        except Exception as error:  # noqa: BLE001  the layer's clients raise many kinds; it is tried again
            self._failed("probe", error)
        else:
            self._answers()

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("origin") == self._channel:
            return
        tell = self._wanted.get(str(message.get("group")))
        if tell is None:
            return
        try:
            event = self._codec.decode(message["event"])
        except Exception as error:  # noqa: BLE001  another release, or somebody's group_send with something else
            log.warning("hub.event_not_read", error=type(error).__name__)
            return
        tell(event)

    def _regroup(self, group: str) -> None:
        self._unsettled[group] = None
        self.in_step.clear()
        self._changed.set()

    async def _settle_group(self, group: str) -> None:
        wanted = group in self._wanted
        if wanted and group not in self._joined:
            await self._layer.group_add(group, self._channel)
            self._joined.add(group)
            self._answers()
        elif not wanted and group in self._joined:
            await self._layer.group_discard(group, self._channel)
            self._joined.discard(group)
        if wanted == (group in self._wanted):
            self._unsettled.pop(group, None)

    def _failed(self, step: str, error: Exception) -> None:
        """Log that the layer is away, once until it is back: it is tried twice a second."""
        if not self._away:
            self._away = True
            self._counts.away += 1
            log.warning(
                "hub.layer_away", step=step, error=type(error).__name__, means="workers do not reach one another"
            )

    def _answers(self) -> None:
        if self._away:
            self._away = False
            self._counts.back += 1
            log.info("hub.layer_back")
