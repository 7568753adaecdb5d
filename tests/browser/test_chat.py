"""The web chat in a browser, on a real gateway with a model that answers in Markdown."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Route, WebSocket, WebSocketRoute, expect

from conversations import phrases
from tests.conftest import GatewayFactory, Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.faults.proxy import FaultyProxy
from tests.support.admin import log_in, make_staff
from tests.support.axe import violations
from tests.support.chatting import PATH, WORDS, Visitor, answering
from tests.support.server import GatewayProcess, manage
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's
KEY = "Object.keys(localStorage).find((key) => key.endsWith(':session'))"
SESSION = f"JSON.parse(localStorage.getItem({KEY}))"
MANY = """
from uuid import UUID
from conversations.jobs import OperatorSays
from conversations.store import commit
commit([OperatorSays(UUID({session!r}), f"line {{number}}", "Ann") for number in range(301)])
"""
Served = tuple[GatewayProcess, FakeModel]


@pytest.fixture(scope="module")
def served(serve: Serve) -> Iterator[Served]:
    with answering(serve) as both:
        make_staff(both[0], ann="Operator")
        yield both


@pytest.fixture
def gateway(served: Served) -> GatewayProcess:
    return served[0]


async def test_an_answer_grows_and_is_shown_as_it_was_meant(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await expect(visitor.chat.locator(".welcome")).to_be_visible()
    await visitor.say("How do I change the port?")
    await expect(visitor.growing.locator("strong")).to_have_text("PORT")  # while it grows
    await visitor.answered(1)
    answer = visitor.answers.first
    await expect(answer.locator("td")).to_have_text(["PORT", "8000"])
    await expect(answer.locator("pre code")).to_have_text("PORT=9000 make run\n")
    await expect(answer.locator(".source").first).to_be_visible()
    await expect(visitor.chat.locator(".line.day")).to_have_text(["today"])
    # Read out once, when it is whole.
    await expect(visitor.chat.locator(".heard")).to_contain_text("See the guide.")
    await visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await answer.locator(".copy").click()
    await expect(answer.locator(".copy")).to_have_text("Copied")
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == "PORT=9000 make run\n"
    await visitor.leave()


async def test_a_reload_shows_what_was_said_and_thought_of_it(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    answer = await visitor.ask("How do I change the port?")
    await answer.get_by_role("button", name="Helpful", exact=True).click()
    thumb = answer.get_by_role("button", name="Helpful", exact=True)
    await expect(thumb).to_have_attribute("aria-pressed", "true")
    await expect(thumb).to_be_focused()
    before = await visitor.words()
    await visitor.page.reload()
    await expect(visitor.answers).to_have_count(1)
    assert await visitor.words() == before
    await expect(thumb).to_have_attribute("aria-pressed", "true")
    await visitor.leave()


async def test_visitors_side_by_side_never_see_one_another(gateway: GatewayProcess, browser: Browser) -> None:
    ann, ben = [await Visitor.at_chat(browser, gateway) for _ in range(2)]
    await asyncio.gather(ann.ask("What is Ann's port?"), ben.ask("What is Ben's host?"))
    for visitor, own in ((ann, "Ann"), (ben, "Ben")):
        await visitor.page.reload()
        await visitor.answered(1)
        assert [words for words in await visitor.words() if "What is" in words] == [
            f"What is {own}'s {'port' if own == 'Ann' else 'host'}?"
        ]
        await visitor.leave()


async def test_an_answer_is_stopped(served: Served, browser: Browser) -> None:
    gateway, model = served
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.say("Is this a long answer?")
    await expect(visitor.growing).to_have_count(1)
    await expect(visitor.button).to_have_accessible_name("Stop")
    await visitor.button.click()
    await visitor.answered(1)
    await expect(visitor.answers.locator(".status")).to_have_text("Stopped")
    await expect(visitor.button).to_have_accessible_name("Send")
    assert "the guide" not in (await visitor.words())[-1]
    model.calls[-1].wait(5)
    await visitor.leave()


async def test_a_failed_answer_is_tried_again(served: Served, browser: Browser) -> None:
    gateway, model = served
    visitor = await Visitor.at_chat(browser, gateway)
    model.mode = Mode.CUT
    try:
        answer = await visitor.ask("Will this break?")
    finally:
        model.mode = Mode.SLOW
    await expect(answer).to_contain_text(phrases.BROKEN_OFF["en"])
    await answer.get_by_role("button", name="Try again").click()
    await visitor.answered(2)
    await expect(visitor.answers.nth(1).locator("td")).to_have_text(["PORT", "8000"])
    await expect(visitor.asked.locator(".bubble")).to_have_text(["Will this break?"] * 2)
    await visitor.leave()


async def test_a_new_conversation_begins_only_when_confirmed(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Will this be forgotten?")
    reset = visitor.chat.get_by_role("button", name="New conversation")
    dialog = visitor.chat.locator("dialog")
    await reset.click()
    await dialog.get_by_role("button", name="Cancel").click()
    await reset.click()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.answers).to_have_count(1)
    await reset.click()
    await dialog.get_by_role("button", name="Yes").click()
    await expect(visitor.chat.locator(".line")).to_have_count(0)
    await visitor.ask("What now?")
    await visitor.page.reload()
    await visitor.answered(1)
    assert (await visitor.words())[0] == "What now?"
    await visitor.leave()


async def test_a_person_takes_over_and_leaves(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.chat.get_by_role("button", name="Talk to a human").click()
    await visitor.chat.locator("dialog").get_by_role("button", name="Yes").click()
    await expect(visitor.answers.locator(".bubble")).to_have_text(phrases.CALLED["en"])
    thumbs = visitor.chat.locator(".thumb")
    await expect(visitor.answers.locator(".meta")).to_be_visible()
    await expect(thumbs).to_have_count(0)  # nothing to have an opinion of
    operator = await log_in(browser, gateway, "ann")
    await operator.goto("/admin/desk/?which=waiting")
    await operator.locator(f'.desk-entry[href*="{await visitor.session()}"]').click()
    await operator.click("text=Take over")
    await expect(visitor.chat.locator(".line.notice")).to_have_text(phrases.JOINED["en"].format(name="ann"))
    await visitor.say("Are you real?")
    await expect(operator.locator(".line-user", has_text="Are you real?")).to_be_visible()
    await expect(visitor.asked).to_have_count(2)
    await expect(visitor.chat.locator(".line.typing")).to_have_count(0)  # a person takes his time
    await operator.fill(".desk-composer textarea", "As real as **you**.")
    await operator.press(".desk-composer textarea", "Control+Enter")
    said = visitor.chat.locator(".line.operator")
    await expect(said.locator(".by")).to_have_text("ann")
    await expect(said.locator("strong")).to_have_text("you")
    await expect(visitor.chat.locator(".heard")).to_have_text("ann: As real as you.\n")
    await visitor.chat.get_by_role("button", name="Talk to a human").click()
    await visitor.chat.locator("dialog").get_by_role("button", name="Yes").click()
    await expect(visitor.answers.last.locator(".bubble")).to_have_text(phrases.HELD["en"])
    await expect(visitor.answers.last.locator(".meta")).to_be_visible()
    await expect(thumbs).to_have_count(0)
    await operator.click("text=Hand back to the bot")
    await expect(visitor.chat.locator(".line.notice").nth(1)).to_have_text(phrases.LEFT["en"].format(name="ann"))
    await expect((await visitor.ask("And how do I change the port?")).locator(".thumb")).to_have_count(2)
    before = await visitor.words()
    await visitor.page.reload()
    await visitor.answered(3)
    assert await visitor.words() == before
    await expect(thumbs).to_have_count(2)
    await expect(visitor.answers.last.locator(".thumb")).to_have_count(2)
    await operator.context.close()
    await visitor.leave()


async def test_the_desk_shows_an_answer_as_the_visitor_sees_it(served: Served, browser: Browser) -> None:
    gateway, model = served
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Is **this** kept?")
    operator = await log_in(browser, gateway, "ann")
    await operator.goto(f"/admin/desk/{await visitor.session()}/")
    await expect(operator.locator("[data-live-state]")).to_have_text("live")
    answers = operator.locator(".line-assistant .bubble")
    await expect(answers.locator("pre code")).to_have_text("PORT=9000 make run\n")
    usual, model.delay = model.delay, 0.5
    try:
        await visitor.say("How do I change the port?")
        await expect(operator.locator(".line-open")).to_have_count(1)
        await operator.route("**/view/**", lambda route: route.abort())  # what grows is told, not fetched
        await expect(operator.locator(".line-open td").first).to_have_text("PORT")
        await operator.unroute("**/view/**")
    finally:
        model.delay = usual
    await visitor.answered(2)
    await expect(operator.locator(".line-open")).to_have_count(0)
    await expect(answers.locator("td")).to_have_text(["PORT", "8000"] * 2)
    link = answers.locator("a").last
    await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    await expect(link).to_have_attribute("target", "_blank")
    await expect(operator.locator(".line-user .bubble").first).to_have_text("Is **this** kept?")
    await operator.context.close()
    await visitor.leave()


async def test_what_is_refused_says_why_and_may_be_sent_again(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    for _ in range(6):  # one more than is taken in an hour
        await visitor.chat.get_by_role("button", name="Talk to a human").click()
        await visitor.chat.locator("dialog").get_by_role("button", name="Yes").click()
    refused = visitor.asked.last
    await expect(refused.locator(".status")).to_contain_text("Not sent · Too many requests")
    await visitor.say("And how do I change the port?")
    await visitor.answered(6)  # it holds nothing up
    refused = visitor.chat.locator(".line.not_sent")
    await visitor.page.reload()
    await visitor.answered(6)
    await expect(refused).to_have_count(1)  # it was tried again, in vain
    frames: list[str] = []

    def note(socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: frames.append(str(payload)))

    visitor.page.on("websocket", note)
    await visitor.page.reload()
    await expect(refused).to_have_count(1)
    await refused.get_by_role("button", name="Send again").click()

    async def sent_twice() -> bool:
        return len(ids_of(frames)) == 2

    await eventually(sent_twice, timeout=10, what="the message, sent again")
    assert len(set(ids_of(frames))) == 1
    await visitor.leave()


def ids_of(frames: list[str]) -> list[str]:
    """Return the ids of the messages among frames that were sent."""
    return [json.loads(frame)["client_msg_id"] for frame in frames if "client_msg_id" in frame]


async def test_the_keyboard_is_enough(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    keyboard = visitor.page.keyboard
    await visitor.text.focus()
    await keyboard.type("One line")
    await keyboard.press("Shift+Enter")
    await keyboard.type("and another")
    # Enter that ends a word in an input method sends nothing.
    await visitor.text.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await expect(visitor.text).to_have_value("One line\nand another")
    await keyboard.press("Enter")
    await visitor.answered(1)
    await expect(visitor.asked.locator(".bubble")).to_have_text("One line\nand another", use_inner_text=True)
    await expect(visitor.text).to_be_focused()
    seen = []
    for _ in range(12):
        await keyboard.press("Shift+Tab")
        seen.append(await visitor.page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText"))
    assert {"Helpful", "Not helpful", "Conversation", "New conversation", "Talk to a human"} <= set(seen), seen
    await visitor.answers.get_by_role("button", name="Not helpful").focus()
    await keyboard.press("Space")
    pressed = visitor.answers.get_by_role("button", name="Not helpful")
    await expect(pressed).to_have_attribute("aria-pressed", "true")
    await expect(pressed).to_be_focused()
    await visitor.leave()


@pytest.mark.parametrize(
    ("language", "lang", "placeholder"), [("zh-hans", "zh-Hans", "输入消息"), ("en", "en", "Write a message")]
)
async def test_it_speaks_the_visitors_language(
    gateway: GatewayProcess, browser: Browser, language: str, lang: str, placeholder: str
) -> None:
    visitor = await Visitor.at_chat(browser, gateway, f"{PATH}?lang={language}")
    await expect(visitor.page.locator("html")).to_have_attribute("lang", lang)
    await expect(visitor.text).to_have_attribute("placeholder", placeholder)
    await visitor.leave()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(served: Served, browser: Browser, scheme: str) -> None:
    gateway, model = served
    phone = {"width": 390, "height": 844}
    visitor = await Visitor.at_chat(browser, gateway, color_scheme=scheme, viewport=phone, reduced_motion="reduce")
    assert await violations(visitor.page) == []  # while it is empty
    model.mode = Mode.CUT
    try:
        await visitor.ask("Will this break?")
    finally:
        model.mode = Mode.SLOW
    await visitor.ask("How do I change the port?")
    await visitor.page.context.set_offline(True)
    await visitor.say("Is this kept?")
    await expect(visitor.chat).to_have_attribute("data-state", "offline")
    assert await violations(visitor.page) == []
    await visitor.chat.locator(".reset").click()
    assert await violations(visitor.page) == []
    await visitor.leave()


async def test_offline_for_twenty_seconds(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    profile = visitor.page.context
    await profile.set_offline(True)
    await visitor.say("First while away?")
    await visitor.say("Second while away?")
    await asyncio.sleep(20)  # this is what is tried
    await expect(visitor.chat).to_have_attribute("data-state", "offline")
    await expect(visitor.asked.locator(".status")).to_have_text(["", "Waits to be sent", "Waits to be sent"])
    await profile.set_offline(False)
    await visitor.answered(3)
    said = ["Before?", "First while away?", "Second while away?"]
    assert [words for words in await visitor.words() if words in said] == said
    await visitor.page.reload()
    await visitor.answered(3)
    assert [words for words in await visitor.words() if words in said] == said
    await visitor.leave()


async def test_what_was_not_sent_outlives_the_page(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    profile = visitor.page.context
    await profile.set_offline(True)
    await expect(visitor.chat).to_have_attribute("data-state", "offline")
    await visitor.say("Is this still known?")
    await visitor.page.close()
    await profile.set_offline(False)
    back = Visitor(await profile.new_page())
    await back.page.goto(f"{gateway.url}{PATH}")
    await back.answered(2)
    await expect(back.asked.locator(".bubble")).to_have_text(["Before?", "Is this still known?"])
    await expect(back.asked.locator(".status")).to_have_text(["", ""])
    await back.leave()


async def test_a_line_that_goes_dead_is_noticed_when_the_machine_wakes(
    gateway: GatewayProcess, browser: Browser
) -> None:
    with FaultyProxy(gateway.port) as proxy:
        visitor = await Visitor.arrive(browser, f"{proxy.url}{PATH}")
        await visitor.is_live()
        await visitor.ask("Before?")
        proxy.stall()
        await visitor.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(visitor.chat).to_have_attribute("data-state", "reconnecting", timeout=10_000)
        await visitor.say("Is this kept?")
        proxy.cut()
        proxy.flow()
        await visitor.answered(2)
        await expect(visitor.asked.locator(".bubble")).to_have_text(["Before?", "Is this kept?"])
        await visitor.leave()


async def test_more_than_a_resume_gives_is_read_from_the_history(gateway: GatewayProcess, browser: Browser) -> None:
    with FaultyProxy(gateway.port) as proxy:
        visitor = await Visitor.arrive(browser, f"{proxy.url}{PATH}")
        await visitor.is_live()
        await visitor.ask("Before?")
        session = await visitor.page.evaluate(SESSION)
        proxy.refuse()
        proxy.cut()
        code = MANY.format(session=session["id"])
        database = {"DATABASE_URL": gateway.database_url}
        await asyncio.to_thread(manage, "shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, **database)
        proxy.accept()
        said = visitor.chat.locator(".line.operator .bubble")
        await expect(said).to_have_count(200, timeout=30_000)
        await expect(said.last).to_have_text("line 300")
        await visitor.ask("And now?")
        await visitor.leave()


MOVED = """(log) => {
    const line = [...log.querySelectorAll('.line.operator')].find((line) => line.textContent.includes('line 101'));
    return line.getBoundingClientRect().top;
}"""


async def test_a_reset_in_one_tab_empties_the_other_and_what_grows_there(
    served: Served, gateway: GatewayProcess, browser: Browser
) -> None:
    first = await Visitor.at_chat(browser, gateway)
    second = Visitor(await first.page.context.new_page())
    await first.ask("Before?")
    await second.page.goto(f"{gateway.url}{PATH}")
    await second.answered(1)
    served[1].words, usual = WORDS * 30, served[1].words
    await second.say("Something long?")
    await expect(second.growing).to_have_count(1)
    await expect(first.growing).to_have_count(1)
    await second.say("And one more?")
    await expect(first.asked).to_have_count(3)
    await first.chat.locator(".reset").click()
    await first.chat.get_by_role("button", name="Yes").click()
    for tab in (first, second):
        await expect(tab.chat.locator(".line")).to_have_count(0)
        await expect(tab.chat.locator(".welcome")).to_be_visible()
    served[1].words = usual
    await second.say("And now?")  # it waits for nothing that was asked before
    await first.answered(1)
    await second.answered(1)
    assert await first.words() == await second.words()
    assert len(await first.words()) == 2
    asked = [call.body["messages"][-1]["content"] for call in served[1].calls]
    assert asked[-2:] == ["Something long?", "And now?"]
    await second.page.close()
    await first.leave()


async def test_a_person_who_has_the_conversation_has_the_new_one_too(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    operator = await log_in(browser, gateway, "ann")
    await operator.goto(f"/admin/desk/{await visitor.session()}/")
    await operator.click("text=Take over")
    joined = visitor.chat.locator(".line.notice")
    await expect(joined).to_have_text(phrases.JOINED["en"].format(name="ann"))
    await visitor.chat.locator(".reset").click()
    await visitor.chat.get_by_role("button", name="Yes").click()
    await expect(visitor.asked).to_have_count(0)
    await expect(joined).to_have_count(1)
    await visitor.say("After it")
    await expect(visitor.asked.locator(".status")).to_have_text("")
    await expect(visitor.chat.locator(".line.typing")).to_have_count(0)
    await visitor.page.reload()
    await expect(visitor.asked).to_have_count(1)
    await expect(joined).to_have_count(1)
    await operator.context.close()
    await visitor.leave()


async def test_what_was_said_long_ago_is_read_when_it_is_asked_for(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway, reduced_motion="reduce")
    await visitor.ask("Before?")
    code = MANY.format(session=await visitor.session())
    database = {"DATABASE_URL": gateway.database_url}
    await asyncio.to_thread(manage, "shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, **database)
    await visitor.page.reload()
    said, earlier = visitor.chat.locator(".line.operator .bubble"), visitor.chat.locator(".earlier")
    await expect(said).to_have_count(200, timeout=30_000)
    await expect(said.first).to_have_text("line 101")
    log = visitor.chat.locator(".log")
    await log.evaluate("(log) => (log.scrollTop = 0)")
    before = await log.evaluate(MOVED)
    await earlier.click()
    await expect(said).to_have_count(301)
    assert abs(await log.evaluate(MOVED) - before) < 2  # pixels
    await expect(visitor.asked.locator(".bubble")).to_have_text(["Before?"])
    await expect(earlier).to_be_hidden()
    await visitor.ask("And now?")
    await expect(said).to_have_count(301)
    await visitor.leave()


async def test_a_session_that_is_not_there_any_more_is_begun_anew(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    session = await visitor.page.evaluate(SESSION)
    await visitor.page.evaluate(
        f"{KEY} && localStorage.setItem({KEY}, {json.dumps(json.dumps({**session, 'token': 'x'}))})"
    )
    await visitor.page.reload()
    await visitor.is_live()
    await visitor.ask("And now?")
    assert (await visitor.words())[0] == "And now?"
    assert (await visitor.page.evaluate(SESSION))["id"] != session["id"]
    await visitor.leave()


async def test_what_was_erased_goes_from_an_open_page_too(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    await visitor.ask("And then?")
    session = await visitor.page.evaluate(SESSION)
    await visitor.page.context.set_offline(True)
    await expect(visitor.chat).to_have_attribute("data-state", "offline")
    code = f"from conversations.models import ChatSession; ChatSession.objects.filter(uuid={session['id']!r}).delete()"
    database = {"DATABASE_URL": gateway.database_url}
    await asyncio.to_thread(manage, "shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, **database)
    await visitor.page.context.set_offline(False)
    await visitor.is_live()
    await expect(visitor.asked).to_have_count(0)
    await visitor.ask("And now?")
    assert (await visitor.words())[0] == "And now?"
    await visitor.leave()


async def test_the_late_history_of_a_lost_session_is_not_shown_in_the_new_one(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    page = visitor.page
    sockets, histories = asyncio.Queue[WebSocketRoute](), asyncio.Queue[Route]()

    async def through(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        await sockets.put(socket)

    async def hold(route: Route) -> None:
        await histories.put(route)

    await page.route_web_socket("**/ws/connect?*", through)
    await page.route("**/ws/messages/**", hold, times=1)
    await page.reload()
    history = await asyncio.wait_for(histories.get(), 15)
    await (await sockets.get()).close(code=4003, reason="Session not found")
    await asyncio.wait_for(sockets.get(), 15)
    await visitor.is_live()
    await visitor.say("And now?")
    async with page.expect_event("requestfinished", lambda request: "/messages/" in request.url):
        await history.continue_()
    await visitor.answered(1)
    await expect(visitor.asked.locator(".bubble")).to_have_text(["And now?"])
    await visitor.leave()


async def test_what_was_left_unsent_long_ago_waits_for_the_visitor(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.ask("Before?")
    name = (await visitor.page.evaluate(KEY)).replace(":session", ":unsent:old")
    old = {"id": "old", "chain": [{"type": "Plain", "text": "Is it Monday?"}], "at": 0}
    await visitor.page.evaluate("([name, old]) => localStorage.setItem(name, JSON.stringify(old))", [name, old])
    await visitor.page.reload()
    left = visitor.chat.locator(".line.not_sent")
    await expect(left.locator(".bubble")).to_have_text("Is it Monday?")
    await visitor.answered(1)
    await visitor.ask("And now?")
    await expect(left).to_have_count(1)
    await left.get_by_role("button", name="Send again").click()
    await visitor.answered(3)
    await expect(left).to_have_count(0)
    assert not await visitor.page.evaluate("Object.keys(localStorage).filter((name) => name.includes(':unsent:'))")
    await visitor.leave()


async def test_more_than_the_queue_holds_stays_where_it_was_written(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.page.context.set_offline(True)
    await expect(visitor.chat).to_have_attribute("data-state", "offline")
    for number in range(50):
        await visitor.say(f"Message {number}")
    await visitor.text.fill("One too many")
    await visitor.text.press("Enter")
    await expect(visitor.chat.locator(".told")).to_have_text("Too many messages wait to be sent.")
    await expect(visitor.text).to_have_value("One too many")
    await visitor.leave()


async def test_a_server_that_dies_in_the_middle_of_an_answer(start_gateway: GatewayFactory, browser: Browser) -> None:
    with model_in_thread() as model:
        model.words, model.mode, model.delay = WORDS * 20, Mode.SLOW, 0.1
        gateway = start_gateway(model=model.base_url(), environment={"LEASE": "5", "BEAT": "1", "DRAIN_TIMEOUT": "1"})
        visitor = await Visitor.at_chat(browser, gateway)
        await visitor.say("How do I change the port?")
        await expect(visitor.growing.locator("strong").first).to_have_text("PORT")
        await asyncio.to_thread(gateway.kill)
        await expect(visitor.chat).to_have_attribute("data-state", "reconnecting")
        model.words = WORDS
        await asyncio.to_thread(gateway.start)
        await visitor.is_live()
        await visitor.answered(1)
        await expect(visitor.asked).to_have_count(1)
        shown = await visitor.words()
        await visitor.page.reload()
        await visitor.answered(1)
        assert await visitor.words() == shown
        assert len(shown) == 2
        await visitor.leave()
