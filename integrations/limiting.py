"""Limits on the wires: how much of what is too much, and what becomes of it.

Whoever is over a limit is told when to come again, and who is told so too often is sent away. What one connection may
send is counted in its process; the rest over all of them, where there is Redis. What else a wire limits stands with
it: logins, contact requests, attempts to get a token.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from limits import RateLimitItem

from connections.auth import Principal
from connections.limits import Allowance, Limiter, per_hour, per_minute
from integrations.errors import Limited, WireError
from integrations.parts import Parts, WireOptions
from integrations.peers import Peer

TURNS_OF_VISITOR = per_minute(60)  # of one session that a visitor talks in
TURNS_OF_ADDRESS = per_minute(600)  # of all visitors at one address
UPLOADS = per_minute(600)  # files of one application, or of an address in open mode
UPLOADS_OF_VISITORS = per_minute(30)  # of all visitors at one address
UPLOADS_OF_VISITORS_IN_AN_HOUR = per_hour(300)
CONTACTS_OF_VISITOR = per_hour(5)  # requests for a person
CONTACTS_OF_ADDRESS = per_hour(60)
# What is counted, as the log and the metrics call it.
CALL = "call"  # handshakes and HTTP calls, of an address
TURN = "turn"  # questions, of an application
SESSION_TURN = "session_turn"
MESSAGE = "message"  # what one connection sends, by number and bytes
UPLOAD = "upload"  # files, of an application or an address
PLACE = "connection"  # sockets and calls that wait for their answer, of an address


async def admit(limiter: Limiter, limit: RateLimitItem, what: str, who: str) -> None:
    """Count one `what` of `who`, such as `contact.message` of a session; raise Limited where that is too much."""
    wait = await limiter.hit(limit, what, who)
    if wait is not None:
        raise Limited(wait)


async def admit_call(parts: Parts, peer: Peer) -> None:
    """Count an HTTP call of an address; raise Limited, a moment later, where those are too many."""
    try:
        await admit(parts.limiter, per_minute(parts.options.calls_of_address), CALL, peer.network)
    except Limited:
        await parts.brake.hold()
        raise


async def admit_turn(parts: Parts, application: UUID | None) -> None:
    """Count a question that an application asks, on whichever wire; raise Limited where those are too many."""
    if application is not None:
        await admit(parts.limiter, per_minute(parts.options.turns_of_application), TURN, str(application))


async def admit_upload(parts: Parts, principal: Principal, peer: Peer) -> None:
    """Count a file that somebody sends; raise Limited where those are too many."""
    if principal.kind == "visitor":
        await admit(parts.limiter, UPLOADS_OF_VISITORS, UPLOAD, peer.network)
        await admit(parts.limiter, UPLOADS_OF_VISITORS_IN_AN_HOUR, UPLOAD, peer.network)
    else:
        await admit(parts.limiter, UPLOADS, UPLOAD, str(principal.application or peer.network))


def allowance(options: WireOptions) -> Allowance | None:
    """Return what a new connection may send, None for all that it wants."""
    return Allowance(options.messages, options.bytes) if options.messages else None


@contextmanager
def placed(parts: Parts, peer: Peer) -> Iterator[None]:
    """Hold one of an address's places while a call waits for its answer; raise WireError where all are taken."""
    with parts.places.held(peer.network) as is_held:
        if not is_held:
            parts.limiter.reached(PLACE, peer.network, parts.places.limit)
            raise WireError(
                "Too many connections from this address", zh="该地址的连接过多，请稍后再试。", status=503, retry_after=5
            )
        yield


class Strikes:
    """What one connection was forgiven: `count` times within `seconds` are too often."""

    def __init__(self, count: int, seconds: float) -> None:
        self._times: deque[float] = deque(maxlen=count)
        self._seconds = seconds

    def are_out(self) -> bool:
        """Note that it happened now; tell whether that was once too often."""
        now = time.monotonic()
        self._times.append(now)
        return len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds
