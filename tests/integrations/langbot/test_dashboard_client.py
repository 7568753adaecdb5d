"""LangBot's own dashboard at a real server: its list is what the gateway has, whatever happens."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests.conftest import GatewayFactory
from tests.faults.model import FakeModel, Mode, in_mode, model_in_thread
from tests.support.applications import make_application
from tests.support.clients import Frame
from tests.support.files import fetch, unique_picture
from tests.support.langbot_dashboard import RECONNECTS, Component, Dashboard
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

BOT: Component = {"type": "At", "target": "websocketbot", "display": "websocketbot"}
FOREIGN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.a-token-of-langbot-s"
Start = Callable[[str], tuple[GatewayProcess, str]]


def plain(text: str) -> Component:
    return {"type": "Plain", "text": text}


def addressed(session_type: str, text: str) -> list[Component]:
    """Return a question to the bot; in a group it has to be named."""
    return [BOT, plain(f" {text}")] if session_type == "group" else [plain(text)]


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that grows slowly enough to be interrupted."""
    with model_in_thread(Mode.SLOW) as model:
        model.delay = 0.03
        yield model


@pytest.fixture
def start(start_gateway: GatewayFactory, model: FakeModel) -> Start:
    """A function that starts a gateway in an access mode and gives what a dashboard's user has for a token."""

    def start(access: str) -> tuple[GatewayProcess, str]:
        settings = {"ACCESS_MODE": access, "ALLOW_PRIVATE_UPSTREAMS": "true", "RATE_LIMITS": "off"}
        gateway = start_gateway(model=model.base_url(), environment=settings)
        token = FOREIGN if access == "open" else make_application(gateway, scopes="read,write,broadcast,admin").token
        return gateway, token

    return start


async def history(dashboard: Dashboard, session_type: str) -> list[Frame]:
    """Return what the gateway has."""
    rows: list[Frame] = (await dashboard.call("GET", f"messages/{session_type}"))["messages"]
    return rows


def by_id(messages: list[Frame]) -> list[Frame]:
    """Return messages of several sessions, or of several who speak at once, in the order of their ids."""
    return sorted(messages, key=lambda message: int(message["id"]))


def is_whole(page: Dashboard, count: int) -> bool:
    return [message["is_final"] for message in page.messages] == [True] * count


def heard_everything(page: Dashboard) -> bool:
    return bool(page.broadcasts and page.pongs)


def assert_same(shown: list[Frame], stored: list[Frame]) -> None:
    """Fail unless a list is what the gateway has: nothing doubled, nothing lost, each in its last state."""
    assert [message["id"] for message in shown] == sorted({message["id"] for message in shown})
    assert shown == stored


@pytest.mark.parametrize("session_type", ["person", "group"])
@pytest.mark.parametrize("access", ["open", "token"])
async def test_its_list_is_the_history(start: Start, access: str, session_type: str) -> None:
    gateway, token = start(access)
    other_type = "group" if session_type == "person" else "person"
    async with Dashboard(gateway, session_type, token=token) as one, Dashboard(gateway, other_type, token=token) as two:
        answer, _ = await asyncio.gather(
            one.ask(*addressed(session_type, "What is this?")), two.ask(*addressed(other_type, "And that?"))
        )
        assert answer["content"].endswith("tok19 ")
        image = await one.attach(unique_picture(), "猫.png")
        await one.ask(*addressed(session_type, "And this picture?"), image)
        (kept,) = (part for part in one.messages[2]["message_chain"] if part["type"] == "Image")
        assert (kept["path"], kept["width"], kept["height"]) == (image["path"], 16, 16)
        assert (await asyncio.to_thread(fetch, gateway, f"/api/v1/files/{kept['path']}"))[0] == 200
        for _ in range(2):
            assert_same(one.messages, await history(one, session_type))
            assert_same(two.messages, await history(two, other_type))
            listed = await one.call("GET", "connections")
            here = {(each["connection_id"], each["session_type"]) for each in listed["connections"]}
            assert here == {(one.connections[-1], session_type), (two.connections[-1], other_type)}
            # A gentle restart lets the answer that grows end first.
            if len(one.connections) == 1:
                await one.say(*addressed(session_type, "Before the restart?"))
                await one.until(lambda: len(one.messages) == 6, "an answer that grows")
                await asyncio.to_thread(gateway.restart, gently=True)
                for page in (one, two):
                    await page.greeted(2)
                await one.ask(*addressed(session_type, "And after it?"))
        assert len(one.messages) == 8
        await one.call("POST", "broadcast", {"message": "Tea is ready"})
        for page in (one, two):
            await page.until(partial(heard_everything, page), "what everybody is told, and a pong")
            assert [frame["message"] for frame in page.broadcasts] == ["Tea is ready"]
        latest = one.messages[-1]["id"]
        await one.reset()
        assert await history(one, session_type) == []
        assert_same(two.messages, await history(two, other_type))
        await one.ask(*addressed(session_type, "A new beginning?"))
        assert_same(one.messages, await history(one, session_type))
        assert one.messages[0]["id"] > latest
        for page in (one, two):
            assert (page.errors, page.dropped) == ([], [])


async def test_a_server_that_is_killed_leaves_one_answer_under_the_id_that_it_had(start: Start) -> None:
    gateway, token = start("token")
    async with Dashboard(gateway, token=token) as page:
        await page.ask(plain("What is this?"))
        await page.say(plain("And that?"))
        await page.until(lambda: len(page.messages) == 4, "an answer that grows")
        await asyncio.to_thread(gateway.restart)
        await page.greeted(2)
        await page.ask(plain("And now?"))

        async def ended() -> bool:
            return len(await history(page, "person")) == 6

        await eventually(ended, timeout=30, what="the end of every answer")
        rows = await history(page, "person")
        assert [row["is_final"] for row in rows] == [True] * 6
        assert [row["id"] for row in rows] == [message["id"] for message in page.messages]
        assert [row for row in rows if row["id"] != rows[3]["id"]] == page.messages[:3] + page.messages[4:]
        await page.load_history()
        await page.ask(plain("And at last?"))
        assert_same(page.messages, await history(page, "person"))
        assert (page.errors, page.dropped) == ([], [])


async def test_persons_see_their_own_words_and_a_group_everybody_s(start: Start) -> None:
    gateway, token = start("open")
    async with AsyncExitStack() as stack:
        ann, bob, eve, sam = [
            await stack.enter_async_context(Dashboard(gateway, kind, token=token))
            for kind in ("person", "person", "group", "group")
        ]
        await asyncio.gather(ann.ask(plain("Who am I?")), bob.ask(plain("And who am I?")))
        assert [len(page.messages) for page in (ann, bob)] == [2, 2]
        assert_same(by_id(ann.messages + bob.messages), by_id(await history(ann, "person")))
        await eve.say(plain("Only to you, Sam"))  # nobody asked the bot
        await asyncio.gather(eve.ask(BOT, plain(" Who are we?")), sam.ask(BOT, plain(" And who are you?")))
        for page in (eve, sam):
            await page.until(partial(is_whole, page, 5), "all that was said")
            assert_same(by_id(page.messages), by_id(await history(page, "group")))
        targets = [each["message_chain"][0]["target"] for each in eve.messages if each["role"] == "assistant"]
        assert sorted(targets) == sorted(f"websocket_{page.connections[0]}" for page in (eve, sam))
        assert [page.errors + page.dropped for page in (ann, bob, eve, sam)] == [[]] * 4


@pytest.mark.parametrize("mode", [Mode.BROKEN, Mode.CUT])
async def test_a_model_that_fails_is_no_reason_to_break_off(start: Start, mode: Mode) -> None:
    gateway, token = start("open")
    async with Dashboard(gateway, token=token) as page:
        await page.ask(plain(in_mode(mode)))
        assert page.is_connected
        await page.ask(plain("And now?"))
        assert_same(page.messages, await history(page, "person"))
        assert page.errors == []


async def test_without_a_token_it_gives_up(start: Start) -> None:
    gateway, _ = start("token")
    page = Dashboard(gateway, token=FOREIGN, step=0.02)
    with pytest.raises(AssertionError, match="it gave up"):
        async with page:
            pass
    assert page.errors == ["Unauthorized"] * (1 + RECONNECTS)
