"""Signed HTTP calls to a company's own systems: HMAC-SHA256 over `timestamp.body` (S9).

The key is derived from SECRET_KEY and the owner's UUID, so no secret is stored; the admin shows it to whoever sets
the receiver up.
"""

import asyncio
import hashlib
import hmac
import time
from uuid import UUID

import httpx2
from django.conf import settings
from django.utils.crypto import salted_hmac

from conversations.outbox import Undeliverable
from conversations.responders.upstream import ForbiddenAddress

TIMESTAMP = "X-Gateway-Timestamp"
SIGNATURE = "X-Gateway-Signature"
DELIVERY = "X-Gateway-Delivery"
PATIENCE = 10.0  # seconds for the whole call
_TRY_AGAIN = {408, 425, 429}


def signing_key(owner: UUID) -> str:
    """Return the key that an owner's calls are signed with."""
    return salted_hmac("chatgateway.webhook", str(owner), secret=settings.SECRET_KEY, algorithm="sha256").hexdigest()


def signature(key: str, timestamp: str, body: bytes) -> str:
    """Return what SIGNATURE holds: `sha256=` and the digest in hexadecimal."""
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class Webhooks:
    """Posts JSON and tells whether it arrived."""

    def __init__(self, client: httpx2.AsyncClient, *, patience: float = PATIENCE) -> None:
        self._client = client
        self._patience = patience

    async def post(self, url: str, body: bytes, *, owner: UUID, delivery: str) -> None:
        """Post `body`; raise Undeliverable where trying again is useless, another exception where it may help.

        `delivery` is the same in every attempt, so that a receiver can tell a repeat.
        """
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(signing_key(owner), timestamp, body),
            DELIVERY: delivery,
        }
        try:
            async with (
                asyncio.timeout(self._patience),
                self._client.stream("POST", url, content=body, headers=headers) as response,
            ):
                pass  # the status says it all; a body is not read
        except (ForbiddenAddress, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise Undeliverable(str(error)) from error
        if response.is_success:
            return
        reason = f"the receiver answered {response.status_code}"
        if response.status_code < 500 and response.status_code not in _TRY_AGAIN:
            raise Undeliverable(reason)
        raise ConnectionError(reason)
