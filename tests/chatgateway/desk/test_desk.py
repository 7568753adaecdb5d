"""The desk in a browser, with real visitors on the other side."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from conversations import phrases
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.admin import log_in, make_staff
from tests.support.clients import Frame, PipelineClient, is_type
from tests.support.contact import ContactClient
from tests.support.environment import QUICK
from tests.support.files import picture, sent
from tests.support.server import GatewayProcess, Templates, manage, model_settings
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

WORDS = tuple(f"word{number:03d} " for number in range(400))


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that talks and talks."""
    with model_in_thread() as model:
        model.words = WORDS
        model.mode = Mode.SLOW
        model.delay = 0.05
        yield model


@pytest.fixture(scope="module")
def gateway(
    templates: Templates, tmp_path_factory: pytest.TempPathFactory, model: FakeModel
) -> Iterator[GatewayProcess]:
    """A gateway with that model and two operators."""
    folder = tmp_path_factory.mktemp("desk")
    database = templates.copy_sqlite(folder, with_model=True)
    environment = {**model_settings(model.base_url()), **QUICK, "DRAIN_TIMEOUT": "1"}
    gateway = GatewayProcess(folder, database, environment=environment)
    gateway.start()
    make_staff(gateway, ann="Operator", ben="Operator", vera="Viewer")
    yield gateway
    gateway.close()


def session_of(client: ContactClient) -> str:
    return str(client.established["client_id"])


def entry(page: Page, session: str) -> Any:
    """Return the queue's entry of a conversation."""
    return page.locator(f'.desk-entry[href*="{session}"]')


async def open_conversation(page: Page, session: str) -> None:
    await page.goto(f"/admin/desk/{session}/")
    await expect(page.locator("[data-live-state]")).to_have_text("live")


async def said_by(page: Page, words: str) -> None:
    """Say something as the operator."""
    await page.fill(".desk-composer textarea", words)
    await page.press(".desk-composer textarea", "Control+Enter")
    await expect(page.locator(".line-operator", has_text=words)).to_be_visible()


def text_of(frame: Frame) -> str:
    return str(frame.get("message", ""))


async def test_an_operator_takes_over_in_the_middle_of_an_answer_and_hands_back(
    gateway: GatewayProcess, browser: Browser
) -> None:
    page = await log_in(browser, gateway, "ann")
    await page.goto("/admin/desk/?which=waiting")
    await expect(page.locator("[data-live-state]")).to_have_text("live")
    waiting = int(await page.locator("[data-waiting-count]").get_attribute("data-waiting-count") or "")
    async with await ContactClient.connect(gateway, stream=1) as visitor:
        session = session_of(visitor)
        await visitor.send({"type": "chat_message", "message": "转人工", "timestamp": ""})
        # Without a reload, and in the title.
        await expect(entry(page, session)).to_contain_text("waiting")
        await expect(page).to_have_title(f"({waiting + 1}) Desk | Chat gateway")
        await entry(page, session).click()
        answer = page.locator(".line-open .bubble")
        await expect(answer).to_contain_text("word010")  # it grows
        await page.click("text=Take over")
        await expect(page.locator("text=Hand back to the bot")).to_be_visible()
        told = await visitor.until(lambda frame: phrases.HANDED["zh-hans"] in text_of(frame))
        assert told[-1]["message"].startswith("word000 ")
        assert text_of(told[-2]) == phrases.JOINED["zh-hans"].format(name="ann")
        await visitor.send({"type": "chat_message", "message": "在吗？", "timestamp": ""})
        await expect(page.locator(".line-user", has_text="在吗？")).to_be_visible()
        await said_by(page, "我在，请讲。")
        between = await visitor.until(lambda frame: text_of(frame) == "我在，请讲。")
        assert between[-1]["sender"] == "owner"
        assert [frame for frame in between if frame.get("sender") == "assistant"] == []
        await page.click("text=Hand back to the bot")
        left = await visitor.until(lambda frame: phrases.LEFT["zh-hans"].format(name="ann") in text_of(frame))
        assert [frame for frame in left if "word" in text_of(frame)] == []
        await expect(entry(page, session)).to_have_count(0)  # nobody waits any more
        await visitor.send({"type": "chat_message", "message": "谢谢", "timestamp": ""})
        await visitor.until(lambda frame: "word" in str(frame))  # the bot answers again
    await page.context.close()


async def test_a_reply_reaches_a_visitor_who_is_away_when_he_resumes(gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, gateway, "ann")
    visitor = await WeChatClient.open(gateway, login="away")
    session, token = visitor.session_id, visitor.resume_token
    await visitor.send({"type": "chat", "query": "转人工", "id": "q1"})
    assert (await visitor.recv())["type"] == "chat_processing"
    await open_conversation(page, session)
    await expect(page.locator(".desk-side")).to_contain_text("when he resumes the conversation")
    await page.click("text=Take over")
    await visitor.until(is_type("chat_response"))
    await visitor.close()
    await expect(page.locator(".desk-head")).to_contain_text("not connected")
    await said_by(page, "您好，我是店主。")
    async with await WeChatClient.open(gateway) as back:
        await back.resume(token)
        replayed = await back.until(lambda frame: "您好，我是店主。" in str(frame))
        assert [frame for frame in replayed if "word399" in str(frame)] == []
    await page.context.close()


async def test_an_operator_sees_the_pictures_that_were_sent_as_they_are_sent(
    gateway: GatewayProcess, browser: Browser
) -> None:
    image = await asyncio.to_thread(sent, gateway, "images", picture("PNG", (600, 300)), "猫.png")
    page = await log_in(browser, gateway, "ann")
    async with await PipelineClient.connect(gateway) as visitor:
        await visitor.say("Hello")
        await visitor.until(is_type("user_message"))
        await open_conversation(page, visitor.session_id)
        await visitor.send({"message": [{"type": "Image", "path": image["file_key"]}]})
        link = page.locator(".files a", has_text="猫.png")
        await expect(link).to_have_attribute("href", image["url"])
        thumbnail = link.locator("img")
        await expect(thumbnail).to_have_js_property("naturalWidth", 480)
        answer = await page.request.get(image["url"])
        assert answer.headers["content-type"] == "image/png"


async def test_the_second_operator_is_told_who_has_it(gateway: GatewayProcess, browser: Browser) -> None:
    ann, ben = await log_in(browser, gateway, "ann"), await log_in(browser, gateway, "ben")
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        for page in (ann, ben):
            await open_conversation(page, session_of(visitor))
        await ann.click("text=Take over")
        await expect(ann.locator("text=Hand back to the bot")).to_be_visible()
        await expect(ben.locator(".desk-deeds")).to_contain_text("ann has it")
        error = await ben.evaluate(
            """async () => {
                const body = new FormData(document.querySelector('.desk-composer'));
                const url = document.querySelector('.desk-conversation').dataset.deeds + 'take/';
                const answer = await fetch(url, {method: 'POST', body});
                return [answer.status, await answer.json()];
            }"""
        )
        assert error == [409, {"error": "ann has this conversation."}]
        # What colleagues tell one another, the visitor does not see.
        await ben.click("text=Private note")
        await ben.fill(".desk-composer textarea", "He is a regular.")
        await ben.press(".desk-composer textarea", "Control+Enter")
        await expect(ann.locator(".line-note")).to_contain_text("He is a regular.")
        await said_by(ann, "你好")
        assert "regular" not in str(await visitor.until(lambda frame: text_of(frame) == "你好"))
        await expect(ann.locator(".desk-request")).to_contain_text("Replied")
    for page in (ann, ben):
        await page.context.close()


async def test_a_reply_whose_answer_was_lost_is_kept_and_arrives_once(
    gateway: GatewayProcess, browser: Browser
) -> None:
    page = await log_in(browser, gateway, "ann")
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        await open_conversation(page, session_of(visitor))
        lost: list[int] = []

        async def lose(route: Route) -> None:
            """Let it be done, and lose what is said of it."""
            lost.append((await route.fetch()).status)
            await route.abort()

        await page.route("**/reply/", lose)
        text = page.locator(".desk-composer textarea")
        await text.fill("第一行\n第二行")
        await text.press("Control+Enter")
        await expect(page.locator(".desk-error")).to_contain_text("cannot be reached")
        await page.unroute("**/reply/")
        await page.reload()
        await expect(text).to_have_value("第一行\n第二行")
        await text.press("Control+Enter")
        await expect(text).to_have_value("")
        await page.fill(".desk-composer textarea", "完")
        await text.press("Control+Enter")
        told = await visitor.until(lambda frame: text_of(frame) == "完")
        assert [text_of(frame) for frame in told if frame.get("sender") == "owner"] == ["第一行\n第二行", "完"]
        assert lost == [204]
    await page.context.close()


async def test_too_long_a_reply_is_refused_in_words_and_kept(gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, gateway, "ann")
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        await open_conversation(page, session_of(visitor))
        text = page.locator(".desk-composer textarea")
        await text.focus()
        await page.keyboard.insert_text("x" * 5001)  # as it is pasted
        await text.press("Control+Enter")
        await expect(page.locator(".desk-error")).to_have_text("At most 5000 characters can be sent at once.")
        await expect(text).to_have_value("x" * 5001)
        await text.fill("短")
        await text.press("Control+Enter")
        told = await visitor.until(lambda frame: text_of(frame) == "短")
        assert [text_of(frame) for frame in told if frame.get("sender") == "owner"] == ["短"]
    await page.context.close()


async def test_what_is_sent_twice_in_haste_is_said_once(gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, gateway, "ann")
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        await open_conversation(page, session_of(visitor))
        go_on = asyncio.Event()

        async def hold_back(route: Route) -> None:
            answer = await route.fetch()
            await go_on.wait()
            await route.fulfill(response=answer)

        await page.route("**/reply/", hold_back)
        text = page.locator(".desk-composer textarea")
        await text.fill("您好")
        await text.press("Control+Enter")
        await expect(page.locator(".line-operator")).to_have_count(1)  # the page was drawn anew meanwhile
        await text.press("Control+Enter")
        await expect(page.locator(".desk-composer button[type=submit]")).to_be_disabled()
        go_on.set()
        await expect(text).to_have_value("")
        await page.unroute_all(behavior="wait")
        await text.fill("再见")
        await text.press("Control+Enter")
        told = await visitor.until(lambda frame: text_of(frame) == "再见")
        assert [text_of(frame) for frame in told if frame.get("sender") == "owner"] == ["您好", "再见"]
    await page.context.close()


async def test_who_reads_what_was_said_before_is_not_moved(gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, gateway, "ann")
    async with await ContactClient.connect(gateway) as visitor:
        await visitor.request("我想联系博主")
        session = session_of(visitor)
        many = f"commit([OperatorSays(UUID({session!r}), f'line {{number}}', 'Ann') for number in range(130)])"
        imports = "from uuid import UUID; from conversations.jobs import OperatorSays"
        code = f"{imports}; from conversations.store import commit; {many}"
        await asyncio.to_thread(
            manage, "shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url
        )
        await open_conversation(page, session)
        line = page.get_by_text("line 60", exact=True)

        async def is_read() -> bool:
            """Scroll there, which the page's first look at what is new may undo."""
            await line.evaluate(f"line => {{ line.closest('#desk-lines').scrollTop += {PLACE} - 20; }}")
            return abs(await place_of(line) - 20) < 5

        await eventually(is_read, timeout=15, what="a reader of line 60")
        for number in range(3):  # each takes the first line of the page away
            await visitor.request(f"还有 {number}")
        await expect(page.locator(".desk-lines").get_by_text("还有 2")).to_have_count(1)
        assert abs(await place_of(line) - 20) < 5
    await page.context.close()


PLACE = "(line.getBoundingClientRect().top - line.closest('#desk-lines').getBoundingClientRect().top)"


async def place_of(line: Locator) -> float:
    """Return how far below the transcript's upper end a line is, once what was drawn is seen."""
    seen = f"requestAnimationFrame(() => requestAnimationFrame(() => told({PLACE})))"
    place: float = await line.evaluate(f"line => new Promise((told) => {seen})")
    return place


async def test_who_may_not_answer_sees_no_desk(gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, gateway, "vera")
    answer = await page.goto("/admin/desk/")
    assert answer is not None
    assert answer.status == 403
    await page.context.close()
