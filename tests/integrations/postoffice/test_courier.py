"""A question to a client of the hub and its replies, over a real hub: who is heard, what is read, what is too late."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec
import pytest
import structlog
from channels.layers import InMemoryChannelLayer

from connections import selectors
from connections.events import ClientEvent, ClientTopic, Passing, Replied, ReplyTopic
from connections.hub import Hub, Membership
from connections.metrics import Metrics
from conversations.responders.base import ResponderError, ServiceReply
from integrations.postoffice.courier import FOREIGN, GOOD_FOR, REPLIES_WAITING, REPLY, TOO_LATE, HubCourier, objection
from integrations.postoffice.protocol import ID_LENGTH

WEATHER = "/service/zhycit/weather_1"
PATIENCE = 10.0


class Codec:
    def __init__(self) -> None:
        self.encode = msgspec.json.Encoder().encode
        self.decode = msgspec.json.Decoder(ClientEvent).decode


class Reader:
    """Knows who is connected, and how it was asked."""

    async def read(self, function: Callable[[str], bool], client_id: str, /) -> bool:
        assert function is selectors.is_connected
        return client_id == WEATHER


class Service:
    """A client of a hub that keeps the questions it gets and replies as a test says."""

    def __init__(self, hub: Hub, client_id: str = WEATHER) -> None:
        self.client_id = client_id
        self.letters: list[dict[str, Any]] = []
        self._hub = hub
        self._asked = asyncio.Event()
        self._membership = hub.watch(ClientTopic(client_id), self._take)

    def _take(self, event: Any) -> None:
        assert isinstance(event, Passing)
        self.letters.append(json.loads(event.text))
        self._asked.set()

    async def asked(self) -> str:
        """Wait for a question and return the address that it came from."""
        async with asyncio.timeout(PATIENCE):
            await self._asked.wait()
        return str(self.letters[-1]["from"])

    async def reply(self, content: Any, kind: str = "msg", *, text: str = "") -> None:
        """Reply to the last question; `text` is the letter as it is."""
        letter = text or json.dumps({"from": self.client_id, "content": content, "type": kind})
        address = await self.asked()
        self._hub.publish(ReplyTopic(address), Replied(self.client_id, letter))


def new_courier(hub: Hub, metrics: Metrics | None = None, **options: Any) -> HubCourier:
    return HubCourier(hub, Reader(), metrics or Metrics(), **options)


Start = Callable[..., Coroutine[Any, Any, Hub]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A function that starts a hub; with a layer, one that other hubs share."""
    hubs: list[Hub] = []

    async def nothing(*_: Any) -> Any:
        return ()

    async def start_hub(layer: InMemoryChannelLayer | None = None) -> Hub:
        made = Hub(layer or InMemoryChannelLayer(), Codec(), shared=layer is not None, fill=nothing, latest=nothing)
        hubs.append(made)
        await made.start()
        return made

    yield start_hub
    for hub in hubs:
        await hub.stop()


@pytest.fixture
async def hub(start: Start) -> Hub:
    return await start()


def ask(courier: HubCourier, question: str = "北京天气？") -> "aclosing[AsyncGenerator[ServiceReply, None]]":
    return aclosing(courier.ask(WEATHER, question))


async def first(replies: AsyncGenerator[ServiceReply, None], *saying: Awaitable[None]) -> ServiceReply:
    """Return the next reply, while somebody says something."""
    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(anext(replies), *saying)
    assert isinstance(found[0], ServiceReply)
    return found[0]


async def test_who_is_connected_is_asked_of_the_database(hub: Hub) -> None:
    courier = new_courier(hub)
    assert await courier.is_connected(WEATHER)
    assert not await courier.is_connected("/service/zhycit/search_1")


async def test_the_letter_is_what_the_wire_says(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier, '北京"天气"？\n\\') as replies:
        assert await first(replies, service.reply("晴")) == ServiceReply("晴")
    (letter,) = service.letters
    assert list(letter) == ["from", "to", "subject", "content", "type", "createTime"]
    assert letter["from"].startswith("AI_CHATBOT/")
    assert (letter["to"], letter["type"], letter["content"]) == (WEATHER, "msg", '北京"天气"？\n\\')
    assert letter["subject"]
    assert abs(letter["createTime"] - time.time()) < 60


async def test_every_question_has_an_address_of_its_own(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    for _ in range(3):
        async with ask(courier) as replies:
            await first(replies, service.reply("晴"))
    addresses = {letter["from"] for letter in service.letters}
    assert len(addresses) == 3
    assert all(len(address) >= len("AI_CHATBOT/") + 32 for address in addresses)


async def test_replies_come_in_order_and_say_which_are_partial(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:
        assert await first(replies, service.reply("北京：", "partial")) == ServiceReply("北京：", partial=True)
        await service.reply("晴", "partial")
        await service.reply("北京：晴")
        assert await first(replies) == ServiceReply("晴", partial=True)
        assert await first(replies) == ServiceReply("北京：晴")


async def test_only_the_service_that_was_asked_is_heard(hub: Hub) -> None:
    metrics = Metrics()
    service, courier = Service(hub), new_courier(hub, metrics)
    async with ask(courier) as replies:

        async def meddle() -> None:
            hub.publish(ReplyTopic(await service.asked()), Replied("mallory", '{"content": "wrong", "type": "msg"}'))
            await service.reply("right")

        assert await first(replies, meddle()) == ServiceReply("right")
    assert metrics.counts == {(REPLY, FOREIGN): 1}


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        ('{"type": "msg", "content": "晴"}', "晴"),
        ('{"content": "晴"}', "晴"),
        ('{"type": "answer", "content": "晴"}', "晴"),
        ('{"type": 7, "content": "晴"}', "晴"),
        ('{"content": {"城市": "\\u5317\\u4eac", "度": [25, 1.5]}}', '{"城市": "北京", "度": [25, 1.5]}'),
        ('{"type": "msg", "content": 12345678901234567890}', "12345678901234567890"),
        ('{"type": "msg", "content": true}', "true"),
        ('{"type": "msg", "content": null}', ""),
        ('{"type": "msg"}', ""),
    ],
)  # fmt: skip
async def test_content_is_told_as_text_or_as_its_json(hub: Hub, letter: str, text: str) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:
        assert await first(replies, service.reply("", text=letter)) == ServiceReply(text)


@pytest.mark.parametrize(
    "letter",
    [
        "nonsense",
        "[]",
        "7",
        '{"content": "a\\u0000b"}',
        '{"content": "\\ud800"}',
        '{"content": [' + "1," * 20000 + "1]}",
    ],
)
async def test_a_reply_that_cannot_be_read_ends_the_conversation(hub: Hub, letter: str) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:
        with pytest.raises(ResponderError, match="cannot be read"):
            await first(replies, service.reply("", text=letter))


async def test_a_heartbeat_is_no_reply(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:

        async def beat_and_reply() -> None:
            await service.reply("ping", "heartbeat")
            await service.reply("晴")

        assert await first(replies, beat_and_reply()) == ServiceReply("晴")


async def test_a_service_in_another_process_is_reached_and_heard(start: Start) -> None:
    layer = InMemoryChannelLayer()
    here, there = await start(layer), await start(layer)
    service, courier = Service(there), new_courier(here)
    await there.ready()
    async with ask(courier) as replies:
        assert await first(replies, service.reply("晴")) == ServiceReply("晴")


async def test_a_service_that_talks_faster_than_it_is_read_is_cut(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:

        async def flood() -> None:
            await service.asked()
            for _ in range(REPLIES_WAITING + 1):
                await service.reply("晴", "partial")

        asked = asyncio.ensure_future(first(replies))
        await flood()
        with pytest.raises(ResponderError, match="faster"):
            await asked


# --- Reply addresses ---------------------------------------------------------------------------


async def test_an_address_is_for_the_service_that_was_asked_and_for_nobody_else(hub: Hub) -> None:
    service, courier = Service(hub), new_courier(hub)
    async with ask(courier) as replies:
        await first(replies, service.reply("晴"))
    address = await service.asked()
    assert len(address) <= ID_LENGTH
    assert objection(address, WEATHER) is None
    for invented in ("AI_CHATBOT/", "AI_CHATBOT/123", "AI_CHATBOT/a.9999999999.b", f"{address}x", address + "\u5929"):
        assert objection(invented, WEATHER) == FOREIGN
    for other in ("mallory", "", f"{WEATHER}.", WEATHER[:-1]):
        assert objection(address, other) == FOREIGN


@pytest.mark.parametrize(("age", "reason"), [(0, None), (3600, None), (-3600, None), (GOOD_FOR + 60, TOO_LATE)])
async def test_an_address_is_good_for_a_day_so_that_a_clock_may_jump(hub: Hub, age: float, reason: str | None) -> None:
    service, courier = Service(hub), new_courier(hub, good_for=GOOD_FOR - age)
    async with ask(courier) as replies:
        await first(replies, service.reply("晴"))
    assert objection(await service.asked(), WEATHER) == reason


# --- Too late ----------------------------------------------------------------------------------


class LeavingHub(Hub):
    """A hub that shows who left it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.left: asyncio.Queue[Membership] = asyncio.Queue()

    def leave(self, membership: Membership) -> None:
        super().leave(membership)
        self.left.put_nowait(membership)


@pytest.fixture
def leaving() -> LeavingHub:
    return LeavingHub(InMemoryChannelLayer(), Codec(), shared=False, fill=AsyncNothing(), latest=AsyncNothing())


class AsyncNothing:
    async def __call__(self, *_: Any) -> Any:
        return ()


async def test_what_comes_too_late_is_counted_dropped_and_logged_once(leaving: LeavingHub) -> None:
    metrics = Metrics()
    service, courier = Service(leaving), new_courier(leaving, metrics, late=0.05)
    with structlog.testing.capture_logs() as logs:
        async with ask(courier) as replies:
            await first(replies, service.reply("晴"))
            await service.reply("and not read any more")
        await service.reply("nor this")
        async with asyncio.timeout(PATIENCE):
            left = await leaving.left.get()
        await service.reply("nobody listens")
    assert isinstance(left.room.topic, ReplyTopic)
    assert metrics.counts == {(REPLY, TOO_LATE): 2}
    (entry,) = logs
    assert entry == {"event": "service.replied_late", "log_level": "info", "service": WEATHER, "replies": 2}


async def test_a_question_without_a_late_reply_is_not_logged(leaving: LeavingHub) -> None:
    service, courier = Service(leaving), new_courier(leaving, late=0)
    with structlog.testing.capture_logs() as logs:
        async with ask(courier) as replies:
            await first(replies, service.reply("晴"))
        async with asyncio.timeout(PATIENCE):
            await leaving.left.get()
    assert logs == []


async def test_addresses_that_are_listened_at_longer_are_bounded(leaving: LeavingHub) -> None:
    service, courier = Service(leaving), new_courier(leaving, addresses=2)
    for _ in range(4):
        async with ask(courier) as replies:
            await first(replies, service.reply("晴"))
    assert leaving.left.qsize() == 2


async def test_who_stops_waiting_leaves_nothing_behind(leaving: LeavingHub) -> None:
    service, courier = Service(leaving), new_courier(leaving, late=0)
    waiting = asyncio.ensure_future(first(courier.ask(WEATHER, "北京天气？")))
    address = await service.asked()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(PATIENCE):
        assert (await leaving.left.get()).room.topic == ReplyTopic(address)
