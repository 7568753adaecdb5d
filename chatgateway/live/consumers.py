"""Staff's socket: tells open pages what is out of date, and one conversation word by word."""

import asyncio
from collections.abc import Callable
from typing import assert_never
from uuid import UUID

from chatgateway.live.access import TO_WATCH, Staff, is_page_token, own_page, session_key, staff_of
from chatgateway.live.events import Changed, StaffTopic, What
from chatgateway.live.protocol import (
    Error,
    Follow,
    Open,
    OutOfDate,
    Ping,
    Pong,
    Ready,
    Watch,
    parse,
    serialise,
)
from chatgateway.live.telling import Teller, stored
from chatgateway.roles import AT_THE_DESK
from connections.hub import Membership
from conversations import selectors
from conversations.store import StoreFull, StoreUnavailable
from conversations.types import SessionTopic
from integrations import admission
from integrations.consumer import RECHECK, GatewayConsumer
from integrations.errors import NOT_ALLOWED, NOT_AUTHENTICATED, TRY_LATER, Fault, WireError
from integrations.outbound import Frame
from integrations.parts import Parts
from integrations.strict import ProtocolError


def _out_of_date(what: What) -> Frame:
    return Frame(serialise(OutOfDate(what)), key=("changed", what))


def _tells_of(what: What) -> Callable[[Changed], Frame | None]:
    def encode(event: Changed) -> Frame | None:
        return _out_of_date(what) if event.what == what else None

    return encode


# Made once: members with the same encoder share its frames.
_ENCODERS = {what: _tells_of(what) for what in TO_WATCH}


class LiveConsumer(GatewayConsumer):
    """One open page of staff. It is no visitor's: no row of the live connections, and none of their messages."""

    wire = "live"
    small_frames = True
    key: str  # of the admin's session
    staff: Staff
    watched: dict[What, Membership]
    followed: Membership | None = None

    def __init__(self, *, parts: Parts, teller: Teller) -> None:
        super().__init__(parts=parts)
        self._teller = teller

    # --- Opening ---------------------------------------------------------------------------------

    async def objection(self) -> Fault | None:
        """Return what speaks against the upgrade: the origin, and that nobody of staff is logged in."""
        fault = await admission.objection(self.parts, self.peer, known_origin=True)
        if fault is not None:
            return fault
        if not own_page(self.peer, self.parts.options):
            return admission.refusal("Origin not allowed", status=403, reason="origin")
        self.key = session_key(self.peer)
        staff = await self.parts.store.read(staff_of, self.key)
        if staff is None:
            return admission.refusal("Unauthorized", status=401)
        if not staff.is_staff:
            return admission.refusal("Forbidden", status=403)
        self.staff = staff
        return None

    async def opened(self) -> None:
        """Take the page's token, and from then on look again and again whether all of that still holds."""
        if not is_page_token(await self._token(), self.key):
            raise _unauthorized()
        self.watched = {}
        self.push(Frame(serialise(Ready())))
        self.spawn(self._recheck())

    async def _token(self) -> str:
        try:
            async with asyncio.timeout(self.parts.options.authenticate_timeout):
                frame = parse(await self.next_message())
        except (TimeoutError, ProtocolError):
            return ""
        return frame.token if isinstance(frame, Open) else ""

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK)
            try:
                staff = await self.parts.store.read(staff_of, self.key)
            except (StoreFull, StoreUnavailable):
                continue  # the database is away or overrun: nothing is known to have changed
            if staff is None:
                raise _unauthorized()
            used = {TO_WATCH[what] for what in self.watched} | (AT_THE_DESK if self.followed else set())
            if not staff.is_staff or not used <= staff.permissions:
                raise WireError("Forbidden", close_code=NOT_ALLOWED, status=403)
            self.staff = staff

    # --- Telling ---------------------------------------------------------------------------------

    async def received(self, data: str | bytes) -> None:
        """Act on one frame."""
        frame = parse(data)
        match frame:
            case Watch():
                self.spawn(self._watch(frame.what))
            case Follow():
                self.spawn(self._follow(frame.session))
            case Ping():
                self.push(Frame(serialise(Pong())))
            case Open():
                pass  # it is
            case _:
                assert_never(frame)

    async def _watch(self, asked: frozenset[What]) -> None:
        """Tell of what is `asked` for from now on; first at once, for what happened while the page was made."""
        for membership in self.watched.values():
            self.leave(membership)
        allowed = {what for what in asked if TO_WATCH[what] in self.staff.permissions}
        watched = self.watched = {what: self.join(StaffTopic(), _ENCODERS[what]) for what in sorted(allowed)}
        await self.parts.hub.ready()
        if self.watched is not watched:
            return  # the page asked for something else meanwhile
        for what, membership in watched.items():
            membership.go_live()
            self.push(_out_of_date(what))
        if lacking := sorted(asked - allowed):
            raise WireError(f"You may not see {' and '.join(lacking)}")

    async def _follow(self, session: UUID) -> None:
        """Tell of one conversation from now on; first how far it is, for what was said while the page was made."""
        if self.followed is not None:
            self.leave(self.followed)
            self.followed = None
        if not self.staff.permissions >= AT_THE_DESK:
            raise WireError("You may not read conversations")
        followed = self.followed = self.join(SessionTopic(session), self._teller.encode)
        await self.parts.hub.ready()
        try:
            seq = (await self.parts.store.read(selectors.last_seqs, [session])).get(session)
        except (StoreFull, StoreUnavailable):
            self.end(TRY_LATER, "the database is away")  # the page comes again
            return
        if self.followed is not followed:
            return  # the page asked for another one meanwhile
        if seq is None:
            self.leave(followed)
            self.followed = None
            raise WireError("There is no such conversation")
        followed.go_live(seq)
        self.push(stored(session, seq))

    def error_frame(self, fault: Fault) -> Frame:
        """Return an error as pages read it."""
        return Frame(serialise(Error(fault.message, fault.retry_after)))


def _unauthorized() -> WireError:
    return WireError("Unauthorized", close_code=NOT_AUTHENTICATED, status=401)
