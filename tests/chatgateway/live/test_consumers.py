"""Staff's socket on two workers: who gets in, what he is told, and when it ends."""

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conversations.markdown import render
from tests.chatgateway.live.conftest import LivePage, MakePeople, Person
from tests.support.applications import change
from tests.support.clients import PipelineClient, dial
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

CONNECTIONS, CONVERSATIONS = "connections.view_connection", "conversations.view_chatsession"
OPERATOR = [CONNECTIONS, CONVERSATIONS, "conversations.answer_session", "conversations.view_message"]

TAKE_AWAY = (
    "DELETE FROM auth_user_user_permissions WHERE user_id = (SELECT id FROM auth_user WHERE username = ?)"
    " AND permission_id = (SELECT id FROM auth_permission WHERE codename = '{}')"
)


@pytest.fixture(scope="module")
def people(make_people: MakePeople) -> dict[str, Person]:
    others = ("leaver", "changer", "gone", "demoted", "lessened", "browser")
    return make_people(operator=OPERATOR, viewer=[CONNECTIONS], customer=None, **dict.fromkeys(others, OPERATOR))


@pytest.fixture
def operator(people: dict[str, Person]) -> Person:
    return people["operator"]


def live_rows(gateway: GatewayProcess) -> int:
    return int(change(gateway, "SELECT count(*) FROM connections_connection WHERE ended_at IS NULL")[0][0])


def workers(gateway: GatewayProcess) -> int:
    return len(change(gateway, "SELECT DISTINCT worker FROM connections_connection WHERE ended_at IS NULL"))


# --- Getting in --------------------------------------------------------------------------------


async def refusal(person: Person, **headers: str) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as refused:
        await person.dial(**headers)
    return refused.value.response.status_code, bytes(refused.value.response.body or b"")


async def test_a_foreign_page_is_refused_before_the_upgrade(operator: Person) -> None:
    port = operator.gateway.port
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}"):
        assert await refusal(operator, Origin=origin) == (403, b"Origin not allowed")
    with pytest.raises(InvalidStatus) as refused:
        await dial(operator.gateway, "/admin/live", headers={"Cookie": operator.headers["Cookie"]})
    assert (refused.value.response.status_code, refused.value.response.body) == (403, b"Origin not allowed")


async def test_who_is_not_logged_in_or_not_of_staff_is_refused_before_the_upgrade(people: dict[str, Person]) -> None:
    for cookie in ("", "sessionid=", "sessionid=" + "x" * 32, "sessionid=../etc"):
        assert await refusal(people["operator"], Cookie=cookie) == (401, b"Unauthorized")
    assert await refusal(people["customer"]) == (403, b"Forbidden")


async def test_a_page_that_cannot_name_its_token_is_closed(people: dict[str, Person]) -> None:
    operator = people["operator"]
    for first in (
        {"type": "open", "token": people["viewer"].token()},
        {"type": "open", "token": "x.y"},
        {"type": "watch", "what": ["connections"]},
        "not a frame",
    ):
        page = await operator.dial()
        await page.send(first)
        frame, code = await page.refused()
        assert (frame, code) == ({"type": "error", "message": "Unauthorized"}, 4001)


async def test_a_page_that_says_nothing_is_closed_in_time(operator: Person) -> None:
    page = await operator.dial()
    assert (await page.refused())[1] == 4001


async def test_it_is_served_below_both_paths_and_counts_as_nobody_s_connection(operator: Person) -> None:
    before = live_rows(operator.gateway)
    for path in ("/admin/live", "/websocket/admin/live"):
        async with await operator.open(path=path) as page:
            assert await page.ping() == {"type": "pong"}
            assert live_rows(operator.gateway) == before


# --- What a page is told -----------------------------------------------------------------------


async def test_a_connection_on_either_worker_wakes_a_page_on_either_worker(
    gateway: GatewayProcess, operator: Person
) -> None:
    token = operator.token()
    pages = [await operator.open(token) for _ in range(4)]
    for page in pages:
        await page.watch("connections")
    visitors: list[PipelineClient] = []
    while workers(gateway) < 2:
        visitors.append(await PipelineClient.connect(gateway))
        for page in pages:
            await page.until_changed("connections")
    while visitors:
        await visitors.pop().close()
        for page in pages:
            await page.until_changed("connections")
    for page in pages:
        assert not [frame for frame in await page.recv_after_ping() if frame.get("what") != "connections"]
        await page.close()


async def test_what_is_said_wakes_a_page_that_shows_conversations(gateway: GatewayProcess, operator: Person) -> None:
    async with await operator.open() as page, await PipelineClient.connect(gateway) as visitor:
        await page.watch("conversations")
        await visitor.ask("What can you do?")
        await page.until_changed("conversations")


async def test_who_may_not_see_something_is_told_so_and_stays(people: dict[str, Person]) -> None:
    async with await people["viewer"].open() as page:
        await page.send({"type": "watch", "what": ["connections", "conversations"]})
        assert await page.recv() == {"type": "changed", "what": "connections"}
        assert await page.recv() == {"type": "error", "message": "You may not see conversations"}
        await page.send({"type": "follow", "session": "9b2e8a54-7a0c-4f6a-9a33-1c5f0d6b7e21"})
        assert await page.recv() == {"type": "error", "message": "You may not read conversations"}
        assert await page.ping() == {"type": "pong"}


async def test_a_followed_conversation_is_told_as_it_streams(gateway: GatewayProcess, operator: Person) -> None:
    async with await operator.open() as page, await PipelineClient.connect(gateway) as visitor:
        await page.send({"type": "follow", "session": visitor.session_id})
        assert await page.recv() == {"type": "error", "message": "There is no such conversation"}
        await visitor.ask("What can you do?")
        assert await page.follow(visitor.session_id) == 2

        answered = await visitor.ask("What can you do?")
        told = await page.until(lambda frame: frame.get("seq") == 4)
        stored = [frame for frame in told if frame["type"] == "stored"]
        assert [frame["seq"] for frame in stored] == [3, 4]
        assert {frame["session"] for frame in stored} == {visitor.session_id}
        final = answered[-1]["data"]
        # One of the answer before may have been on its way from the other worker.
        deltas = [frame for frame in told if frame["type"] == "growing" and frame["turn"] == final["id"]]
        # As HTML; one that comes too soon after the one before is left out.
        whole = render(final["content"]).removesuffix("</p>\n")
        assert deltas
        assert all(whole.startswith(frame["html"].removesuffix("</p>\n")) for frame in deltas), "cumulative"


async def test_one_conversation_is_followed_at_a_time(gateway: GatewayProcess, operator: Person) -> None:
    visitors = [await PipelineClient.connect(gateway) for _ in range(2)]
    for visitor in visitors:
        await visitor.ask("What can you do?")
    async with await operator.open() as page:
        for visitor in visitors:
            await page.send({"type": "follow", "session": visitor.session_id})
        await page.until(lambda frame: frame.get("session") == visitors[1].session_id)
        for visitor in visitors:
            await visitor.ask("What can you do?")
        told = await page.until(lambda frame: frame.get("seq") == 4)
        assert {frame["session"] for frame in told if frame["type"] == "stored"} == {visitors[1].session_id}
    for visitor in visitors:
        await visitor.close()


async def test_a_frame_that_is_none_is_answered_and_does_no_harm(operator: Person) -> None:
    async with await operator.open() as page:
        await page.send({"type": "watch", "what": ["users"]})
        assert (await page.recv())["type"] == "error"
        assert await page.ping() == {"type": "pong"}


# --- When it ends ------------------------------------------------------------------------------


async def test_it_ends_with_the_session_the_password_the_user_and_the_permission(people: dict[str, Person]) -> None:
    endings = {
        "leaver": ("", 4001),
        "changer": ("UPDATE auth_user SET password = '!' WHERE username = ?", 4001),
        "gone": ("UPDATE auth_user SET is_active = 0 WHERE username = ?", 4001),
        "demoted": ("UPDATE auth_user SET is_staff = 0 WHERE username = ?", 4003),
        "lessened": (TAKE_AWAY.format("view_connection"), 4003),
    }
    pages: dict[str, LivePage] = {}
    for name in endings:
        pages[name] = await people[name].open()
        await pages[name].watch("connections")
    people["leaver"].log_out()
    for name, (statement, _) in endings.items():
        if statement:
            change(people[name].gateway, statement, name)
    ended = await asyncio.gather(*(page.closed() for page in pages.values()))
    assert dict(zip(endings, ended, strict=True)) == {name: code for name, (_, code) in endings.items()}


async def test_what_a_page_does_not_use_may_be_taken_away_and_is_gone(people: dict[str, Person]) -> None:
    browser = people["browser"]
    refused = {"type": "error", "message": "You may not see conversations"}
    page = await browser.open()

    async def is_gone() -> bool:
        nonlocal page
        try:
            await page.send({"type": "watch", "what": ["connections", "conversations"]})
            told = await page.recv_after_ping()
            # At the next look it uses nothing that it has lost.
            await page.send({"type": "watch", "what": ["connections"]})
            await page.recv_after_ping()
        except ConnectionClosed:  # it was looked at just then, told "Forbidden" and sent away
            page = await browser.open()
            return False
        return refused in told

    await page.watch("connections")
    change(browser.gateway, TAKE_AWAY.format("view_chatsession"), "browser")
    await eventually(is_gone, timeout=15, what="a lost permission")
    await page.close()
