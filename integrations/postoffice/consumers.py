"""The hub's socket: a named client connects, its letters go out, others' come in."""

import asyncio
from collections import deque
from typing import Any, ClassVar, assert_never
from urllib.parse import parse_qs
from uuid import UUID

import msgspec

from connections.auth import Principal, Scope, may, may_be, may_use
from connections.claims import ClaimClient, Claimed, Denied, HeldBy
from connections.events import ClientEvent, ClientTopic, MailWaiting, Passing, Probe, Replaced, Replied, StillHere
from connections.mailroom import Mailroom, Reader
from integrations.admission import refusal
from integrations.consumer import GatewayConsumer
from integrations.errors import REPLACED, Fault, WireError
from integrations.outbound import Frame
from integrations.parts import Parts
from integrations.postoffice.line import ClientLine
from integrations.postoffice.protocol import ID_LENGTH, is_reserved
from integrations.postoffice.sorting import Sorter

EARLY = 1000  # passing letters that are kept while a connection is opening: the newest
PROOF_PATIENCE = 1.5  # seconds that whoever holds a name has to prove that its client is still there
REPLACED_WORDS = "replaced by a newer connection"
LARGEST_START_TIME = 2**63 - 1

UNAUTHORIZED = refusal("Unauthorized", status=401, reason="unauthorized")
ID_REQUIRED = refusal("Client ID is required", status=400, reason="client_id")
BAD_ID = refusal(f"Client ID must have at most {ID_LENGTH} characters, and no NUL", status=400, reason="client_id")
OLDER = refusal("Connection rejected: newer connection exists", status=409, reason="older")
NO_ROOM = refusal("Connection limit reached", status=503, reason="clients")


class HubConsumer(GatewayConsumer):
    """One named client."""

    wire: ClassVar[str] = "postoffice"
    held_up: ClassVar[bool] = True  # a letter that is refused is lost to a client without receipts
    claimed: Claimed  # set before the upgrade
    sorter: Sorter  # set with the reader

    def __init__(self, *, parts: Parts, mailroom: Mailroom) -> None:
        super().__init__(parts=parts)
        self.mailroom = mailroom
        self.client_id = ""
        self.uuid = UUID(self.connection_id)
        self.reader: Reader | None = None
        self.early: deque[str] = deque(maxlen=EARLY)
        self.pump: asyncio.Task[None] | None = None
        self.is_replaced = False
        self.proving = False
        self.holder: UUID | None = None  # the connection that has the name we want
        self.proof = asyncio.Event()  # that its client is there still

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, and give its name back whatever happens."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.pump is not None:
                self.pump.cancel()
            if self.reader is not None:
                self.mailroom.close(self.reader)
                self.sorter.close()
            if self.client_id:
                self.parts.hub.leave(self.membership)
                self.mailroom.release(self.client_id, self.uuid)

    # --- Before the upgrade ----------------------------------------------------------------------

    async def objection(self) -> Fault | None:
        """Add credential, client ID and the claim to what may speak against an upgrade."""
        fault = await super().objection()
        if fault is not None:
            return fault
        principal = await self.parts.authenticator.identify(self.peer.token)
        if principal is None or not may(principal, Scope.READ) or not may_use(principal, self.wire):
            return UNAUTHORIZED
        client_id = client_id_of(self.scope)
        if not client_id:
            return ID_REQUIRED
        if len(client_id) > ID_LENGTH or "\0" in client_id:
            return BAD_ID
        if is_reserved(client_id) or not may_be(principal, client_id):
            return UNAUTHORIZED
        self.principal = principal
        return await self._claim(client_id)

    async def _claim(self, client_id: str) -> Fault | None:
        """Take the name, from a connection that is older or dead; else return the refusal."""
        self.client_id = client_id
        # Before the claim, so that no word to its holder is missed.
        self.membership = self.parts.hub.join(ClientTopic(client_id), self.outbound, self.tell)
        self.membership.go_live()
        claim = ClaimClient(
            client_id=client_id,
            connection=self.uuid,
            worker=self.parts.registry.worker,
            limits=self.mailroom.limits,
            start_time=_start_time(self.peer.query.get("startTime", "")),
            application=self.principal.application,
        )
        result = await self.mailroom.claim(claim)
        if isinstance(result, HeldBy) and not await self._is_there(result.connection):
            result = await self.mailroom.claim(msgspec.structs.replace(claim, over=result.connection))
        match result:
            case Claimed():
                self.claimed = result
                return None
            case HeldBy():
                return OLDER
            case Denied.FOREIGN:
                return UNAUTHORIZED
            case Denied.NO_ROOM:
                return NO_ROOM
            case _:
                assert_never(result)

    async def _is_there(self, holder: UUID) -> bool:
        """Tell whether the connection that holds the name proves that its client is there."""
        self.holder = holder
        await self.parts.hub.ready()
        self.parts.hub.publish(ClientTopic(self.client_id), Probe(holder))
        try:
            async with asyncio.timeout(PROOF_PATIENCE):
                await self.proof.wait()
        except TimeoutError:
            return False
        return True

    # --- Open ------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Begin to read the mailbox; there is no greeting."""
        await self.register(
            principal=self.principal, pipeline=None, session=None, session_type="", client=self.client_id
        )
        await self.parts.hub.ready()
        if self.is_replaced:  # while it was opening
            raise WireError(REPLACED_WORDS, close_code=REPLACED)
        self.line = ClientLine(self.outbound, self._direct, self._replaced)
        self.reader = self.mailroom.open(self.claimed, self.uuid, self.line)
        self.line.confirmed = self.reader.confirm
        self.sorter = Sorter(
            self.parts,
            self.mailroom,
            client_id=self.client_id,
            connection_id=self.connection_id,
            principal=lambda: self.principal,
            limited=self.fail,
            receipt=self._receipt if self.peer.query.get("receipts") == "1" else None,
        )
        for text in self.early:
            self.reader.pass_on(text)
        self.pump = asyncio.get_running_loop().create_task(self.reader.run())
        token = self.peer.token
        if token and self.principal.kind == "application":
            self.spawn(self.watch_credential(token))

    async def received(self, data: str | bytes) -> None:
        """Send a letter on its way."""
        await self.sorter.take(data)

    def still_allowed(self, principal: Principal) -> bool:
        """Add its client ID to what a principal has to allow."""
        return super().still_allowed(principal) and may_be(principal, self.client_id)

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection; what is read from the mailbox from now on would reach nobody."""
        if self.pump is not None:
            self.pump.cancel()
        super().end(code, reason)

    def tell(self, event: ClientEvent) -> None:
        """Act on what happens to this client; letters go through the reader, nothing is sent from here."""
        match event:
            case MailWaiting():
                if self.reader is not None:
                    self.reader.wake()
            case Passing():
                if self.reader is not None:
                    self.reader.pass_on(event.text)
                else:
                    self.early.append(event.text)
            case Replaced():
                if event.connection == self.uuid:
                    self._replaced()
            case Probe():
                if event.connection == self.uuid and not self.proving:
                    self.proving = True
                    self.spawn(self._prove())
            case StillHere():
                if event.connection == self.holder:
                    self.proof.set()
            case Replied():
                pass
            case _:
                assert_never(event)

    async def _prove(self) -> None:
        """Tell who wants the name that its client is there, or end the connection."""
        try:
            # One that is only just opening was there a moment ago.
            if self.reader is None or await self.line.answers():
                self.parts.hub.publish(ClientTopic(self.client_id), StillHere(self.uuid))
            else:
                self.line.abort()
        finally:
            self.proving = False

    def _replaced(self) -> None:
        self.is_replaced = True
        if self.reader is not None:
            self.end(REPLACED, REPLACED_WORDS)

    def _receipt(self, text: str) -> None:
        self.push(Frame(text.encode()))

    def error_frame(self, fault: Fault) -> None:
        """Say nothing: a client that answers every frame would start a loop."""


def client_id_of(scope: Any) -> str:
    """Return the client ID of a handshake: the query's, else the `Client-ID` header's.

    Both are read as UTF-8, percent-encoded or raw: they have to be what a letter's `to` says.
    """
    query = parse_qs(str(scope.get("query_string", b""), "utf-8", "replace"), keep_blank_values=True)
    if asked := query.get("clientID", [""])[-1]:
        return asked
    for name, value in scope["headers"]:
        if name.lower() == b"client-id":
            return str(value, "utf-8", "replace").strip()
    return ""


def _start_time(text: str) -> int | None:
    """Return a startTime, None where it is none."""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        return None
    return max(-LARGEST_START_TIME, min(int(text), LARGEST_START_TIME))
