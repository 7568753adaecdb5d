"""Questions to clients of the hub, and their replies: what a service responder speaks through.

Each question goes out from a reply address of its own, so a service that merely answers the letter's `from` is
matched, from whichever process it is connected to. Only the service that was asked is heard at that address: it is
signed for it, so that an invented one is known in every process. Whether a reply is in time only who listens knows.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

import msgspec
import structlog
from django.core.signing import BadSignature, Signer

from connections import selectors
from connections.events import ClientTopic, Passing, Replied, ReplyTopic
from connections.hub import Hub, Membership
from connections.metrics import Metrics
from conversations.responders.base import ResponderError, ServiceReply
from integrations import strict
from integrations.postoffice.protocol import HEARTBEAT, REPLIES

log = structlog.get_logger(__name__)

SUBJECT = "question"
PARTIAL = "partial"  # the type of a reply that another one follows
REPLIES_WAITING = 1000  # replies to one question that were not read yet; with one more the answer breaks off
GOOD_FOR = 24 * 3600  # seconds; an address is never old for a wall clock that only jumped by an hour
LATE = 60.0  # seconds that a reply address is listened at after its answer has ended
ADDRESSES_LATE = 1000  # addresses that are; beyond them the oldest is given up
REPLY = "postoffice_replies"  # what the metrics call a reply that reaches nobody
TOO_LATE = "late"
FOREIGN = "foreign"  # the address is invented, or another service's


class _Letter(msgspec.Struct, frozen=True):
    """A question on its way to a service."""

    from_: str = msgspec.field(name="from")
    to: str
    subject: str
    content: str
    type: str
    createTime: int  # noqa: N815  the wire's name; seconds since 1970


class _Reply(msgspec.Struct, frozen=True):
    """What of a reply is looked at; the rest is the service's own. Its `type` is any JSON."""

    type: object = "msg"
    content: msgspec.Raw = msgspec.Raw(b'""')


class Reader(Protocol):
    """Runs a synchronous query in a thread."""

    def read(self, function: Callable[[str], bool], client_id: str, /) -> Awaitable[bool]: ...


def objection(address: str, sender: str) -> str | None:
    """Return why a letter from `sender` to a reply address reaches nobody, None where somebody may wait for it."""
    try:
        signed = _signer(sender).unsign(address.removeprefix(REPLIES))
    except BadSignature:
        return FOREIGN
    return TOO_LATE if int(signed.rpartition(".")[2]) < time.time() else None


class HubCourier:
    """Asks clients of the hub; `reader` reads who is connected."""

    def __init__(
        self,
        hub: Hub,
        reader: Reader,
        metrics: Metrics,
        *,
        good_for: float = GOOD_FOR,
        late: float = LATE,
        addresses: int = ADDRESSES_LATE,
    ) -> None:
        self._hub = hub
        self._reader = reader
        self._metrics = metrics
        self._good_for = good_for
        self._late = late
        self._addresses = addresses
        self._ended: dict[_Address, Membership] = {}  # listened at a while longer, oldest first

    async def is_connected(self, service: str) -> bool:
        """Tell whether `service` is connected, to whichever process."""
        return await self._reader.read(selectors.is_connected, service)

    async def ask(self, service: str, question: str) -> AsyncGenerator[ServiceReply, None]:
        """Send `question` to `service` and yield its replies as they come, for ever."""
        name = _signer(service).sign(f"{secrets.token_hex(16)}.{int(time.time() + self._good_for)}")
        address = _Address(f"{REPLIES}{name}", service, self._metrics)
        membership = self._hub.watch(ReplyTopic(address.name), address.take)
        try:
            # A reply may come from another process at once.
            await self._hub.ready()
            letter = _Letter(address.name, service, SUBJECT, question, "msg", int(time.time()))
            self._hub.publish(ClientTopic(service), Passing(msgspec.json.encode(letter).decode()))
            while True:
                reply = _read(await address.replies.get(), service)
                if address.overrun:
                    raise ResponderError(f"{service} talks faster than it is read")
                if reply is not None:
                    yield reply
        finally:
            self._listen_on(address, membership)

    def _listen_on(self, address: "_Address", membership: Membership) -> None:
        """Count what still comes to an address, for a while."""
        address.end()
        if len(self._ended) >= self._addresses:
            self._leave(next(iter(self._ended)))
        self._ended[address] = membership
        asyncio.get_running_loop().call_later(self._late, self._leave, address)

    def _leave(self, address: "_Address") -> None:
        membership = self._ended.pop(address, None)
        if membership is None:
            return
        self._hub.leave(membership)
        if address.late:
            log.info("service.replied_late", service=address.service, replies=address.late)


class _Address:
    """A reply address: what has come to it, and how much came too late."""

    def __init__(self, name: str, service: str, metrics: Metrics) -> None:
        self.name = name
        self.service = service
        self.replies: asyncio.Queue[str] = asyncio.Queue(REPLIES_WAITING)
        self.overrun = False
        self.late = 0
        self._metrics = metrics
        self._ended = False

    def take(self, event: Any) -> None:
        """Keep a reply of the service that was asked."""
        if not isinstance(event, Replied):
            return
        if event.sender != self.service:  # from a process of a release that looks at no signature
            self._metrics.count(REPLY, FOREIGN)
        elif self._ended:
            self._count_late(1)
        else:
            try:
                self.replies.put_nowait(event.text)
            except asyncio.QueueFull:
                self.overrun = True

    def end(self) -> None:
        """Keep nothing more: what was not read, and what still comes, is late."""
        self._ended = True
        self._count_late(self.replies.qsize())
        self.replies = asyncio.Queue(1)

    def _count_late(self, replies: int) -> None:
        self.late += replies
        self._metrics.count(REPLY, TOO_LATE, replies)


def _signer(service: str) -> Signer:
    return Signer(salt=f"chatgateway.reply.{service}", sep=".")


def _read(text: str, service: str) -> ServiceReply | None:
    """Return what a letter says, None for a heartbeat; raise ResponderError where it cannot be read."""
    try:
        reply = msgspec.json.decode(text, type=_Reply)
        content = strict.decode(bytes(reply.content))
    except (msgspec.MsgspecError, strict.ProtocolError) as error:
        raise ResponderError(f"the reply of {service} cannot be read") from error
    if reply.type == HEARTBEAT:
        return None
    if content is None:
        content = ""
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return ServiceReply(said, partial=reply.type == PARTIAL)
