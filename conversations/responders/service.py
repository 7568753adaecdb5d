"""Answers by a service: a client of the hub that was asked by name, within the time that its route gives it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from conversations.responders.base import Ask, Courier, ResponderError, ServiceReply
from conversations.types import Reply

ANSWER_CHARS = 32_000  # of one answer; a longer one breaks off


class ServiceResponder:
    """Asks the route's service through `courier`."""

    wants_history = False
    repeatable = False  # a service may do something, and not only say it

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        """Yield the service's partial replies as they come and what the last one adds, then a Reply."""
        service = ask.route.service
        if not await self._courier.is_connected(service):
            raise ResponderError(f"{service} is not connected")
        said = ""
        async with aclosing(self._courier.ask(service, ask.question)) as replies:
            while True:
                reply = await _next(replies, ask, begun=bool(said))
                # A service may say all of it again at the end.
                text = reply.text if reply.partial else reply.text.removeprefix(said)
                said += text
                if len(said) > ANSWER_CHARS:
                    raise ResponderError(f"{service} did not end within {ANSWER_CHARS} characters")
                if text:
                    yield text
                if not reply.partial:
                    break
        if not said:
            raise ResponderError(f"{service} answered with nothing")
        yield Reply()


async def _next(replies: AsyncGenerator[ServiceReply, None], ask: Ask, *, begun: bool) -> ServiceReply:
    """Return the next reply; raise ResponderError where it takes longer than the route allows."""
    try:
        async with asyncio.timeout_at(min(asyncio.get_running_loop().time() + ask.route.timeout, ask.deadline)):
            return await anext(replies)
    except TimeoutError as error:
        what = "stalled in the middle of its answer" if begun else "did not answer in time"
        raise ResponderError(f"{ask.route.service} {what}") from error
