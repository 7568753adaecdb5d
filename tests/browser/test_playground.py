"""The playground in a browser: it speaks every wire of a real server."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from chatgateway.pages.panels import panels
from tests.conftest import Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.admin import log_in, make_staff
from tests.support.applications import make_application
from tests.support.axe import violations
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.environment import QUICK
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually

WORDS = ("Growing ", "word ", "by ", "word.")

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model that says a few words, one after another."""
    with model_in_thread(Mode.SLOW) as model:
        model.words = WORDS
        yield model


@pytest.fixture(scope="module")
def gateway(serve: Serve, model: FakeModel) -> Iterator[GatewayProcess]:
    with serve(model=model.base_url()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def token_gateway(serve: Serve) -> Iterator[GatewayProcess]:
    # Whoever shows no token hears so a second after he has connected.
    with serve(ACCESS_MODE="token", AUTHENTICATE_TIMEOUT="1", **QUICK) as gateway:
        make_staff(gateway, ann="None")
        yield gateway


@pytest_asyncio.fixture(loop_scope="session")
async def page(gateway: GatewayProcess, browser: Browser) -> AsyncIterator[Page]:
    """The playground, freshly opened; nothing in it may break or be blocked."""
    context = await browser.new_context(base_url=gateway.url, locale="en-US")
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    await page.goto("/playground/")
    await expect(page.locator("#panel-langbot [data-go]")).to_have_text("Connect")
    yield page
    await context.close()
    assert wrong == []


async def panel_of(page: Page, wire: str) -> Locator:
    """Return the panel of a wire, chosen by its tab."""
    await page.click(f"#tab-{wire}")
    panel = page.locator(f"#panel-{wire}")
    await expect(panel).to_be_visible()
    return panel


async def rows(panel: Locator, kind: str) -> list[str]:
    """Return what the log has of one kind: sent, received, note or failed."""
    return await panel.locator(f".row-{kind} .row-text").all_inner_texts()


async def connect(panel: Locator) -> None:
    await panel.locator("[data-go]").click()
    await expect(panel.locator("[data-connection]")).to_have_text("Connected")


async def choose(panel: Locator, way: str) -> None:
    await panel.locator("[data-way]").select_option(way)


@pytest.mark.parametrize("wire", list(panels()))
async def test_the_document_s_conversation_goes_as_the_document_says(page: Page, wire: str) -> None:
    panel = await panel_of(page, wire)
    await panel.locator("[data-run]").click()
    result = panel.locator("[data-result]")
    await expect(result).to_have_attribute("data-mood", "good")
    steps = panels()[wire].steps
    await expect(result).to_contain_text(f"It went as the document says: {len(steps)} steps")
    await expect(panel.locator(".step[data-state=done]")).to_have_count(len(steps))
    assert await rows(panel, "sent")
    assert await rows(panel, "received")


async def test_a_conversation_that_goes_otherwise_is_found_out(page: Page) -> None:
    # The server of this page answers something else than the document says.
    async def other(route: Any) -> None:
        await route.fulfill(json={"code": 0, "message": "别的", "timestamp": "now"})

    await page.route("**/wechat/health", other)
    panel = await panel_of(page, "wechat")
    await panel.locator("[data-run]").click()
    result = panel.locator("[data-result]")
    await expect(result).to_have_attribute("data-mood", "bad")
    await expect(result).to_contain_text('message: "别的" ≠ "服务正常"')
    await expect(panel.locator(".step[data-state=failed]")).to_have_count(1)
    await expect(panel.locator(".step[data-state=failed]")).to_contain_text("GET /wechat/health")


async def test_a_conversation_can_be_stopped(page: Page) -> None:
    async def silent(_route: Any) -> None:
        """Never answer."""

    await page.route("**/health", silent)
    panel = await panel_of(page, "yishiting")
    await panel.locator("[data-run]").click()
    await expect(panel.locator(".step[data-state=running]")).to_have_count(1)
    await panel.locator("[data-run]").click()
    await expect(panel.locator("[data-result]")).to_contain_text("Stopped")
    await expect(panel.locator("[data-run]")).to_have_text("Run the document's conversation")


async def test_frames_go_both_ways_and_a_broken_one_is_answered_with_the_server_s_error(page: Page) -> None:
    panel = await panel_of(page, "langbot")
    await connect(panel)
    await expect(page.locator("#tab-langbot")).to_have_attribute("data-live", "")
    await ask(panel)
    await panel.locator("textarea").fill('{"type": "ping"')
    await expect(panel.locator("[data-verdict]")).to_have_text("Not JSON; it is sent as it is")
    await panel.locator("textarea").press("Control+Enter")
    error = panel.locator(".row-received", has_text="Invalid JSON format")
    await expect(error).to_contain_text('"type":"error"')
    assert (await rows(panel, "sent"))[-1] == '{"type": "ping"'
    await panel.locator("[data-go]").click()
    await expect(panel.locator("[data-go]")).to_have_text("Connect")
    await expect(panel.locator(".row-note").last).to_contain_text("Closed 1000")
    await expect(panel.locator("[data-send]")).to_be_disabled()


async def ask(panel: Locator) -> None:
    """Send the first example on an open socket of the pipeline wire, and wait for its answer."""
    await panel.locator("[data-send]").click()
    await eventually(lambda: final(panel), timeout=15, what="a final answer")


async def final(panel: Locator) -> bool:
    return any('"is_final":true' in text and '"response"' in text for text in await rows(panel, "received"))


async def test_every_example_is_answered_in_words_of_the_wire(page: Page) -> None:
    panel = await panel_of(page, "wechat")
    await connect(panel)
    choices = panel.locator("[data-examples] option")
    assert await choices.all_inner_texts() == [
        "login", "chat", "chat_of_every_field", "login_without_code", "ping", "resume",
    ]  # fmt: skip
    await panel.locator("[data-examples]").select_option(label="login_without_code")
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received", has_text="缺少code参数")).to_have_count(1)


async def test_an_address_can_be_edited(page: Page) -> None:
    panel = await panel_of(page, "langbot")
    await panel.locator("#langbot-socket-session_type").fill("neither")
    await expect(panel.locator("[data-url]")).to_contain_text("session_type=neither")
    await panel.locator("[data-go]").click()
    await expect(panel.locator(".row-received")).to_contain_text("session_type must be person or group")
    await panel.locator("#langbot-socket-pipeline").fill("nobody/s")
    await expect(panel.locator("[data-url]")).to_contain_text("/pipelines/nobody%2Fs/ws")


async def test_a_stream_is_shown_event_by_event_and_a_call_as_it_is(page: Page, model: FakeModel) -> None:
    panel = await panel_of(page, "yishiting")
    model.delay = 1.0
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received")).to_have_count(1)
    await expect(panel.locator("[data-send]")).to_have_text("Stop")  # the rest is to come
    model.delay = 0.01
    await expect(panel.locator(".row-received", has_text='"finished":true')).to_have_count(1)
    await expect(panel.locator("[data-send]")).to_have_text("Send request")
    received = await rows(panel, "received")
    assert len(received) > 1
    assert all(row.startswith("event:delta\ndata:{") for row in received)
    await choose(panel, "sync")
    await panel.locator("[data-clear]").click()
    await panel.locator("textarea").fill('{"content": ""}')
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received")).to_contain_text("缺少必要字段: content")
    await expect(panel.locator(".row-note")).to_contain_text("400 application/json")


async def test_the_pipeline_is_picked_where_it_is_named_and_only_there(page: Page) -> None:
    for wire in panels():
        await panel_of(page, wire)
        await expect(page.locator("#pipeline")).to_be_visible(visible=wire == "langbot")
        await expect(page.locator("#no-pipeline")).to_be_visible(visible=wire != "langbot")
        await expect(page.locator("#token")).to_be_visible()
    await page.reload()  # on the last of them, which the address remembers
    await expect(page.locator("#no-pipeline")).to_be_visible()
    await expect(page.locator("#pipeline")).to_be_hidden()


async def test_without_a_connection_a_reset_warns_that_it_is_of_every_session(page: Page) -> None:
    panel = await panel_of(page, "langbot")
    warning = panel.locator("[data-warning]")
    await expect(warning).to_be_hidden()
    await choose(panel, "reset")
    await expect(warning).to_contain_text("every session")
    await expect(panel.locator("[data-verdict]")).to_be_hidden()  # there is no body, which is as it should be
    await expect(panel.locator("[data-url]")).not_to_contain_text("session_id")
    await panel.locator("#langbot-reset-session_id").fill("a-room")
    await expect(warning).to_be_hidden()
    await panel.locator("#langbot-reset-session_id").fill("")
    await expect(warning).to_be_visible()
    await choose(panel, "messages")
    await expect(warning).to_be_hidden()


async def test_calls_open_narrowed_to_the_connection_s_own_session(page: Page, browser: Browser) -> None:
    other = await (await browser.new_context(locale="en-US")).new_page()
    await other.goto(page.url)
    kept = {}
    for one in (other, page):
        panel = await panel_of(one, "langbot")
        await connect(panel)
        await ask(panel)
        kept[one] = json.loads((await rows(panel, "received"))[0])
    panel = await panel_of(page, "langbot")
    await choose(panel, "reset")
    await expect(panel.locator("[data-warning]")).to_be_hidden()
    await expect(panel.locator("#langbot-reset-session_id")).to_have_value(kept[page]["session_id"])
    await expect(panel.locator("#langbot-reset-resume_token")).to_have_value(kept[page]["resume_token"])
    await panel.locator("[data-clear]").click()
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received")).to_contain_text("Session reset successfully")
    # The own session is new, and the other one's is as it was.
    for one, many in ((page, 0), (other, 2)):
        panel = await panel_of(one, "langbot")
        await choose(panel, "messages")
        await expect(panel.locator("[data-url]")).to_contain_text(kept[one]["session_id"])
        await panel.locator("[data-clear]").click()
        await panel.locator("[data-go]").click()
        await expect(panel.locator(".row-received")).to_have_count(1)
        (answer,) = await rows(panel, "received")
        assert len(json.loads(answer)["data"]["messages"]) == many
    await other.context.close()


async def test_a_group_s_room_is_reset_as_one(page: Page) -> None:
    panel = await panel_of(page, "langbot")
    await panel.locator("#langbot-socket-session_type").fill("group")
    await panel.locator("#langbot-socket-session_id").fill("客服")
    await connect(panel)
    await expect(panel.locator(".row-received")).to_have_count(1)
    await choose(panel, "reset")
    await expect(panel.locator("[data-url]")).to_contain_text("/ws/reset/group?session_id=")
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received").last).to_contain_text("Session reset successfully")


async def test_another_pipeline_s_calls_do_not_take_the_session_of_this_one(page: Page) -> None:
    panel = await panel_of(page, "langbot")
    await connect(panel)
    await choose(panel, "reset")
    await expect(panel.locator("[data-warning]")).to_be_hidden()
    # The page knows one pipeline only; what another one would bring about is the change of it.
    await page.evaluate("document.getElementById('pipeline').add(new Option('Other', crypto.randomUUID()))")
    await page.locator("#pipeline").select_option(label="Other")
    await expect(panel.locator("[data-warning]")).to_be_visible()
    await expect(panel.locator("[data-url]")).not_to_contain_text("session_id")


async def test_a_run_leaves_the_connection_by_hand_alone(page: Page) -> None:
    panel = await panel_of(page, "postoffice")
    await connect(panel)
    await panel.locator("[data-run]").click()
    await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", "good")
    await panel.locator("[data-clear]").click()
    await expect(panel.locator("[data-connection]")).to_have_text("Connected")
    await panel.locator("[data-send]").click()
    await expect(panel.locator(".row-received", has_text="AI_CHATBOT")).not_to_have_count(0)


async def test_a_call_without_a_body_is_sent_from_its_address(page: Page) -> None:
    panel = await panel_of(page, "postoffice")
    await choose(panel, "token")
    await expect(panel.locator("[data-editor]")).to_be_hidden()
    await panel.locator("[data-go]").click()
    await expect(panel.locator(".row-received")).to_contain_text("invalid appid or secret")


async def test_the_log_is_bounded_and_follows_the_newest(page: Page) -> None:
    panel = await panel_of(page, "contact")
    await connect(panel)
    await panel.locator("[data-examples]").select_option(label="ping")
    await page.evaluate(
        """() => { const send = document.querySelector("#panel-contact [data-send]");
                   for (let count = 0; count < 300; count += 1) { send.click(); } }"""
    )
    await expect(panel.locator("[data-count]")).to_contain_text("older ones dropped", timeout=15_000)
    await expect(panel.locator(".row")).to_have_count(500)
    at_end = "rows => rows.scrollHeight - rows.scrollTop - rows.clientHeight < 2"
    assert await panel.locator("[data-rows]").evaluate(at_end)
    await panel.locator("[data-clear]").click()
    await expect(panel.locator(".row")).to_have_count(0)
    await expect(panel.locator("[data-empty]")).to_be_visible()


@pytest.mark.parametrize("token", ["wrong-token-中文", "two words"])
async def test_what_is_no_token_travels_and_is_the_gateway_s_to_refuse(page: Page, token: str) -> None:
    panel = await panel_of(page, "contact")
    await page.fill("#token", token)
    await panel.locator("[data-go]").click()
    await expect(panel.locator(".row-received")).to_contain_text("connection_established")  # access is open
    await panel.locator("[data-run]").click()
    await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", "good")


async def test_snippets_follow_the_request_and_never_hold_the_token(page: Page) -> None:
    panel = await panel_of(page, "yishiting")
    await page.fill("#token", "s3cret-token")
    await panel.locator("textarea").fill("""{"content": "it's"}""")
    code = panel.locator("[data-code]")
    await expect(code).to_contain_text("curl --no-buffer -X POST")
    await expect(code).to_contain_text("""-d '{"content": "it'\\''s"}'""")
    kinds = await panel.locator("[data-snippet] option").all_inner_texts()
    assert kinds == ["curl", "Python", "JavaScript"]
    for kind in kinds:
        await panel.locator("[data-snippet]").select_option(kind)
        await expect(code).to_contain_text("TOKEN")
        assert "s3cret" not in await code.inner_text()
    await expect(code).to_contain_text("const TOKEN =")
    sockets = await panel_of(page, "contact")
    assert await sockets.locator("[data-snippet] option").all_inner_texts() == ["websocat", "Python", "JavaScript"]


async def test_the_log_and_the_code_can_be_copied(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = await panel_of(page, "wechat")
    await choose(panel, "health")
    await panel.locator("[data-go]").click()
    await expect(panel.locator(".row-received")).to_contain_text("服务正常")
    await panel.locator("[data-copy]").click()
    await expect(panel.locator("[data-copy]")).to_have_text("Copied")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert [line.split()[1] for line in copied.splitlines()] == ["↑", "•", "↓"]
    await panel.locator("[data-copy-snippet]").click()
    await expect(panel.locator("[data-copy-snippet]")).to_have_text("Copied")
    assert (await page.evaluate("navigator.clipboard.readText()")).startswith("curl 'http://127.0.0.1:")


async def test_tabs_obey_the_keyboard_and_the_address_remembers_them(page: Page) -> None:
    await page.focus("#tab-langbot")
    for key, wire in (
        ("ArrowRight", "postoffice"),
        ("End", "wechat"),
        ("ArrowRight", "langbot"),
        ("ArrowLeft", "wechat"),
    ):
        await page.keyboard.press(key)
        await expect(page.locator(f"#tab-{wire}")).to_be_focused()
        await expect(page.locator(f"#panel-{wire}")).to_be_visible()
        await expect(page.locator("[role=tabpanel]:visible")).to_have_count(1)
    assert page.url.endswith("#wechat")
    await page.reload()
    await expect(page.locator("#panel-wechat")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_it(gateway: GatewayProcess, browser: Browser, scheme: str) -> None:
    context = await browser.new_context(
        base_url=gateway.url,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 390, "height": 844},
    )
    page = await context.new_page()
    await page.goto("/playground/?lang=zh-hans")
    for wire in panels():
        panel = await panel_of(page, wire)
        await panel.locator("[data-run]").click()
        await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", "good")
        assert await violations(page) == [], wire
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "nothing is cut off"
    await context.close()


async def test_token_mode_refuses_strangers_and_takes_a_token(token_gateway: GatewayProcess, browser: Browser) -> None:
    page = await log_in(browser, token_gateway, "ann")
    await page.goto("/playground/?lang=en")
    panel = await panel_of(page, "langbot")
    await panel.locator("[data-run]").click()
    await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", "bad", timeout=20_000)
    await expect(panel.locator(".row-received", has_text="Unauthorized")).to_have_count(1, timeout=20_000)
    made = make_application(token_gateway, pipeline=DEFAULT_PIPELINE)
    await page.fill("#token", made.token)
    for wire in panels():
        panel = await panel_of(page, wire)
        await panel.locator("[data-run]").click()
        mood = "warn" if wire == "wechat" else "good"  # WeChat is not set up
        await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", mood)
    assert made.token not in await page.locator("body").inner_text()
    await page.context.close()


@pytest.mark.parametrize(("lang", "words"), [("en", "WeChat is not set up here"), ("zh-hans", "这里尚未配置微信")])
async def test_what_is_not_set_up_is_told_in_words_and_as_no_failure(
    token_gateway: GatewayProcess, browser: Browser, lang: str, words: str
) -> None:
    page = await log_in(browser, token_gateway, "ann")
    await page.goto(f"/playground/?lang={lang}")
    panel = await panel_of(page, "wechat")
    await panel.locator("[data-run]").click()
    result = panel.locator("[data-result]")
    await expect(result).to_have_attribute("data-mood", "warn")
    await expect(result).to_contain_text(words)
    await expect(result).to_contain_text("WECHAT_APPID")
    await expect(result).to_contain_text("WECHAT_APP_SECRET")
    await expect(panel.locator(".step[data-state=failed]")).to_have_count(0)
    await expect(panel.locator(".step[data-state=done]")).to_have_count(3)
    await expect(panel.locator(".step[data-state=left]")).to_have_count(len(panels()["wechat"].steps) - 3)
    assert await violations(page) == []
    await page.context.close()


async def test_another_refusal_of_the_login_is_a_failure_all_the_same(
    token_gateway: GatewayProcess, browser: Browser
) -> None:
    page = await log_in(browser, token_gateway, "ann")

    def other(socket: Any) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda text: socket.send(text.replace("配置未完成", "登录未完成")))

    await page.route_web_socket("**/wechat/ws", other)
    await page.goto("/playground/?lang=en")
    panel = await panel_of(page, "wechat")
    await panel.locator("[data-run]").click()
    await expect(panel.locator("[data-result]")).to_have_attribute("data-mood", "bad")
    await expect(panel.locator(".step[data-state=failed]")).to_have_count(1)
    await page.context.close()


async def test_a_stranger_has_to_log_in(token_gateway: GatewayProcess, browser: Browser) -> None:
    context = await browser.new_context(base_url=token_gateway.url)
    page = await context.new_page()
    await page.goto("/playground/")
    assert page.url.endswith("/admin/login/?next=/playground/")
    await context.close()
