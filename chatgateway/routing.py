"""The composition root: builds hub, store, turns and responders, hands them to the wires, starts and stops them.

Everything starts at first use, once, in the loop that uses it: Daphne has no lifespan.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import structlog
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from django.conf import settings
from django.core.files.storage import storages
from django.urls import path

from chatgateway import options
from chatgateway.dashboard.tally import FAULTY, Faults, Tally
from chatgateway.live import routing as live
from chatgateway.live.events import Changed
from chatgateway.live.wakes import Wakes
from chatgateway.metrics import readings, reporter
from chatgateway.metrics.process import watch_clocks
from chatgateway.metrics.readings import Readings
from chatgateway.metrics.reporter import Reporter
from chatgateway.metrics.shelf import Shelf
from chatgateway.probe import Probe
from chatgateway.rounds import Rounds, repeat
from connections import audit
from connections.auth import Authenticator
from connections.events import ClientEvent, ConnectionsTopic, EndConnections
from connections.hub import Hub, Topic
from connections.limits import Brake, Limiter, Places
from connections.mailroom import Mailroom
from connections.metrics import REFUSED_HANDSHAKE, Metrics
from connections.minutes import Minutes
from connections.registry import Registry
from conversations import selectors
from conversations.catalogue import Catalogue
from conversations.idle import Holds
from conversations.library import Library
from conversations.outbox import Deliver, Outbox
from conversations.responders.base import Responder
from conversations.responders.calls import Calls
from conversations.responders.knowledge import KnowledgeResponder
from conversations.responders.openai import Limits, OpenAIResponder
from conversations.responders.service import ServiceResponder
from conversations.responders.upstream import open_client
from conversations.store import Store
from conversations.turns import TurnLimits, TurnRunner
from conversations.types import ControlTopic, Event, MessageStored, SessionTopic
from conversations.uploads.shelf import Uploads
from integrations.contact import routing as contact
from integrations.contact.notices import Notices
from integrations.errors import RESTARTING
from integrations.langbot import routing as langbot
from integrations.parts import Parts
from integrations.postoffice import routing as postoffice
from integrations.postoffice.courier import HubCourier
from integrations.postoffice.translate import WIRE as POSTOFFICE
from integrations.postoffice.translate import AnswerPost
from integrations.webhooks import Webhooks
from integrations.wechat import routing as wechat
from integrations.wechat.accounts import Accounts
from integrations.wechat.api import WeChatAPI
from integrations.yishiting import callback as yishiting

log = structlog.get_logger(__name__)

FOLLOW = 1.0  # seconds between two looks for changed pipelines and documents
LOOK = 2.0  # seconds between two looks for letters whose wake-up the layer lost
PURGE = 3600.0  # seconds between two looks for rows that are too old: letters, ended connections, the audit trail …
AnyEvent = Event | ClientEvent | EndConnections | Changed
REPLAYED = 300  # events that a gap is filled with at most


class EventCodec:
    """Carries what happens in conversations and between named clients from process to process."""

    def __init__(self) -> None:
        self._decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
        self.encode = msgspec.json.Encoder().encode

    def decode(self, data: bytes) -> AnyEvent:
        """Return the event in `data`; raise msgspec.DecodeError where it is none."""
        event: AnyEvent = self._decoder.decode(data)
        return event


class Gateway:
    """The parts of one process and their life."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx2.AsyncClient | None = None
        self._webhook_client = open_client(allow_private=settings.ALLOW_PRIVATE_UPSTREAMS)
        self.metrics = Metrics()
        self.tally = Tally(self.metrics)
        # A little longer, so that what the database itself says comes first.
        self.store = Store(patience=settings.LOCK_TIMEOUT + 0.5, observer=self.tally)
        self.library = Library()
        self.uploads = Uploads(self.store, storages["uploads"], largest=settings.MAX_UPLOAD_BYTES)
        self.model_calls = Calls(
            at_once=settings.MODEL_CALLS,
            failures=settings.MODEL_FAILURES,
            rest=settings.MODEL_REST,
            on_failure=self.tally.on_model_failure,
            on_switch=self.tally.on_breaker,
        )
        self.catalogue = Catalogue(self.store)
        self.registry = Registry(
            self.store,
            limits=options.lease_limits(),
            lock_dir=settings.DATA_DIR / "workers",
            on_change=lambda: self.wakes.note("connections"),
            metrics=self.metrics,
            on_beat=Rounds("lease").note,
        )
        self.minutes = Minutes(
            self.store,
            self.metrics,
            worker=lambda: self.registry.worker,
            connections=lambda: self.registry.live,
            on_round=Rounds("statistics").note,
        )
        self.hub = self._make_hub()
        self.wakes = Wakes(self.hub.publish)
        self.probe = Probe(self.registry.beat)
        self.holds = Holds(self.store, self._publish, patience=settings.HOLD_IDLE)
        self.mailroom = Mailroom(self.store, self.hub, options.mail_limits(), shared=bool(settings.REDIS_URL))
        self._deliverers: dict[str, Deliver] = {}  # filled below, once there is what they deliver with
        self.outbox = Outbox(
            self.store,
            self._deliverers,
            lambda: self.registry.worker,
            on_attempt=self.tally.on_attempt,
            on_round=Rounds("deliveries").note,
        )
        self.turns = self._make_turns()
        self._readings = self._make_readings()
        version = str(settings.SPECTACULAR_SETTINGS["VERSION"])
        self.reporter = Reporter(Shelf(settings.DATA_DIR / "metrics"), self._readings, version=version)
        self.parts = self._make_parts()
        self._deliverers |= self._make_deliverers()
        self._wechat_client: httpx2.AsyncClient | None = None
        self.wechat_accounts = self._make_wechat_accounts()

    async def ready(self) -> None:
        """Start everything at first use; wait until it has."""
        if self._starting is None:
            self._loop = asyncio.get_running_loop()
            # In a context of its own: what runs from now on is not of the connection that came first.
            self._starting = self._loop.create_task(self._start(), context=Context())
        if not self._starting.done():
            await asyncio.shield(self._starting)
        elif self._starting.exception() is not None:
            failed, self._starting = self._starting, None
            failed.result()

    def on_said(self, event: object) -> None:
        """Take note of what was said outside the loop, as by an operator, in whichever thread."""
        self.tally.on_event(event)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.outbox.wake)

    async def drain(self) -> None:
        """Let answers in flight end, for so long as they may."""
        began = time.monotonic()
        await self.turns.drain(settings.DRAIN_TIMEOUT)
        self.metrics.drains.observe(time.monotonic() - began)

    def part(self) -> None:
        """Close every connection, after what is still to be sent."""
        self.registry.end_all(RESTARTING, "server restarting")

    async def stop(self) -> None:
        """Let answers in flight end, then end everything; nothing acknowledged is left unwritten."""
        if self._starting is None:
            return
        with suppress(Exception):
            await self._starting
        await self.turns.drain(settings.DRAIN_TIMEOUT)
        await self.outbox.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            await self.minutes.flush()
        with suppress(Exception):
            await self.registry.stop()
        await self.hub.stop()
        await self.parts.limiter.close()
        await asyncio.to_thread(self.uploads.stop)
        await self.store.stop()
        await self._webhook_client.aclose()
        if self._client is not None:
            await self._client.aclose()
        if self._wechat_client is not None:
            await self._wechat_client.aclose()
        await self.reporter.stop()
        log.info("gateway.stopped", worker=str(self.registry.worker))

    # --- Starting --------------------------------------------------------------------------------

    def _make_hub(self) -> Hub:
        layer: Any = get_channel_layer()
        return Hub(
            layer,
            EventCodec(),
            shared=bool(settings.REDIS_URL),
            fill=self._fill,
            latest=self._latest,
            on_look=Rounds("look for missed messages").note,
        )

    def _make_turns(self) -> TurnRunner:
        return TurnRunner(
            store=self.store,
            catalogue=self.catalogue,
            responders=self._responders(),
            publish=self._publish,
            worker=lambda: self.registry.worker,
            limits=TurnLimits(deadline=settings.TURN_DEADLINE, delta_interval=settings.DELTA_INTERVAL),
            wake_outbox=self.outbox.wake,
            observer=self.tally,
        )

    def _make_readings(self) -> Readings:
        return Readings(
            metrics=self.metrics,
            hub=self.hub,
            registry=self.registry,
            store=self.store,
            turns=self.turns,
            model_calls=self.model_calls,
        )

    def _responders(self) -> dict[str, Responder]:
        responders: dict[str, Responder] = {
            "knowledge": KnowledgeResponder(self.library),
            "service": ServiceResponder(HubCourier(self.hub, self.store, self.metrics)),
        }
        if settings.OPENAI_BASE_URL:
            self._client = open_client(allow_private=settings.ALLOW_PRIVATE_UPSTREAMS, connections=settings.MODEL_CALLS)
            responders["openai"] = OpenAIResponder(
                client=self._client,
                base_url=settings.OPENAI_BASE_URL,
                api_key=settings.OPENAI_API_KEY,
                model=settings.OPENAI_MODEL,
                recall=self.library.search,
                limits=Limits(
                    connect=settings.MODEL_CONNECT_TIMEOUT,
                    first_token=settings.MODEL_FIRST_TOKEN_TIMEOUT,
                    idle=settings.MODEL_IDLE_TIMEOUT,
                    context_tokens=settings.MODEL_CONTEXT_TOKENS,
                ),
                calls=self.model_calls,
                files=self.uploads,
            )
        return responders

    def _make_parts(self) -> Parts:
        """Return what every wire is given."""
        return Parts(
            hub=self.hub,
            store=self.store,
            turns=self.turns,
            uploads=self.uploads,
            catalogue=self.catalogue,
            registry=self.registry,
            authenticator=Authenticator(
                "open" if settings.ACCESS_MODE == "open" else "token", self.store.read, ttl=2.0
            ),
            limiter=Limiter(self.metrics, enabled=settings.RATE_LIMITS, redis_url=settings.REDIS_URL),
            places=Places(settings.MAX_CONNECTIONS_PER_ADDRESS),
            brake=Brake(),
            metrics=self.metrics,
            options=options.wire_options(),
            ready=self.ready,
        )

    def _make_deliverers(self) -> dict[str, Deliver]:
        """Return who delivers what lies in the outbox, by an entry's kind."""
        webhooks = Webhooks(self._webhook_client)
        notices = Notices(self.store.read, webhooks.post, public_url=settings.PUBLIC_URL)
        return {
            "email": notices.email,
            "webhook": notices.webhook,
            "yishiting": yishiting.deliverer(self.store, webhooks),
            POSTOFFICE: AnswerPost(self.mailroom, public_url=settings.PUBLIC_URL).deliver,
        }

    def _make_wechat_accounts(self) -> Accounts:
        """Return who logs mini programs' users in."""
        api = None
        if settings.WECHAT_APPID and settings.WECHAT_APP_SECRET:
            self._wechat_client = open_client(allow_private=settings.ALLOW_PRIVATE_UPSTREAMS)
            api = WeChatAPI(
                self._wechat_client,
                base=settings.WECHAT_API_BASE,
                appid=settings.WECHAT_APPID,
                secret=settings.WECHAT_APP_SECRET,
            )
        is_open = settings.ACCESS_MODE == "open"
        return Accounts(
            api,
            simulated=is_open and not settings.WECHAT_APPID,
            checked=settings.WECHAT_CONTENT_CHECK,
            login_timeout=None if is_open else settings.WECHAT_LOGIN_TIMEOUT,
        )

    async def _start(self) -> None:
        # What can fail first: a start that failed is tried again by the next request.
        await self.catalogue.refresh()
        await self.store.read(self.library.refresh)
        await self.registry.start(on_fenced=self.turns.abandon)
        await self.hub.start()
        self.hub.watch(ControlTopic(), self.turns.on_control)
        self.hub.watch(ConnectionsTopic(), self.registry.on_request)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(repeat(FOLLOW, "look for changed pipelines", self._follow)),
            loop.create_task(repeat(settings.SCAN, "look for lost workers", self._look_after_workers)),
            loop.create_task(repeat(settings.SCAN, "end of silent handovers", self.holds.hand_back)),
            loop.create_task(repeat(LOOK, "look for letters", self.mailroom.look)),
            loop.create_task(repeat(PURGE, "clearing of old connections", self.registry.purge)),
            loop.create_task(repeat(PURGE, "clearing of old letters", self.mailroom.purge)),
            loop.create_task(repeat(PURGE, "clearing of old deliveries", self.outbox.purge)),
            loop.create_task(repeat(PURGE, "clearing of uploads", self.uploads.purge)),
            loop.create_task(repeat(PURGE, "clearing of old statistics", self.minutes.purge)),
            loop.create_task(repeat(PURGE, "clearing of the audit trail", self._purge_trail)),
            loop.create_task(self.outbox.run()),
            loop.create_task(self.minutes.run()),
            loop.create_task(repeat(reporter.EVERY, "report of metrics", self.reporter.report)),
            loop.create_task(repeat(readings.LOOK, "readings of metrics", self._readings.look)),
            loop.create_task(repeat(readings.LOOK, "look for Redis", self.hub.probe)),
            loop.create_task(watch_clocks(self.metrics)),
        ]
        for name in FAULTY:
            logging.getLogger(name).addHandler(Faults(self.metrics))
        log.info("gateway.started", worker=str(self.registry.worker), pipelines=len(self.catalogue.all()))

    async def _follow(self) -> None:
        await self.catalogue.refresh()
        await self.store.read(self.library.refresh)

    async def _look_after_workers(self) -> None:
        await self.registry.scan()
        await self.turns.take_over(self.registry.dead_among)
        await self.outbox.take_over(self.registry.dead_among)

    async def _purge_trail(self) -> None:
        await audit.purge(self.store, timedelta(days=settings.AUDIT_DAYS))

    def _publish(self, topic: SessionTopic | ControlTopic, event: Event) -> None:
        """Publish what happens in a conversation, count it, and wake staff's pages."""
        self.hub.publish(topic, event)
        self.tally.on_event(event)
        if isinstance(event, MessageStored):
            self.wakes.note("conversations")

    async def _fill(self, topic: Any, after: int) -> Sequence[Event]:
        if not isinstance(topic, SessionTopic):
            return ()
        missing = await self.store.read(selectors.messages_after, topic.session, after, REPLAYED)
        return [MessageStored(message) for message in missing]

    async def _latest(self, topics: Sequence[Topic]) -> dict[Topic, int]:
        sessions = [topic.session for topic in topics if isinstance(topic, SessionTopic)]
        latest = await self.store.read(selectors.last_seqs, sessions)
        return {SessionTopic(session): seq for session, seq in latest.items()}


gateway = Gateway()


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    """Refuse an unknown socket path before the upgrade."""
    gateway.metrics.count(REFUSED_HANDSHAKE, "path")
    await receive()
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"Not found"})
    else:
        await send({"type": "websocket.close", "code": 1008})


# Channels routes sockets by Django's `path`, whose types know views only.
_refuse: Any = _not_found
_wires: list[Any] = [
    *live.urlpatterns(gateway.parts),
    *contact.urlpatterns(gateway.parts),
    *langbot.urlpatterns(gateway.parts),
    *postoffice.urlpatterns(gateway.parts, gateway.mailroom),
    *wechat.urlpatterns(gateway.parts, gateway.wechat_accounts),
    path("<path:rest>", _refuse),
]
# Below /websocket/ too: document 001's nginx block forwards that prefix.
_prefixed: Any = URLRouter(_wires)

websocket_router = URLRouter([path("websocket/", _prefixed), *_wires])
