"""Files in the web chat: picked, dropped and pasted, shown and refused."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.async_api import Browser, FilePayload, expect

from tests.conftest import Serve
from tests.support.admin import log_in, make_staff
from tests.support.axe import violations
from tests.support.chatting import Visitor, answering
from tests.support.server import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's

LARGEST = 2 * 1024 * 1024  # bytes; not what it is by default
NOTES = FilePayload(name="notes.txt", mimeType="text/plain", buffer="端口是 9000。".encode())
GIVE = """(chat, {how, bytes}) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "screen.png", {type: "image/png"}));
    const more = {bubbles: true, cancelable: true};
    const event = how === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, ...more})
        : new DragEvent("drop", {dataTransfer: transfer, ...more});
    chat.querySelector("textarea").dispatchEvent(event);
}"""
WORDS_TOO = """(chat) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File(["x"], "cells.png", {type: "image/png"}));
    clipboardData.setData("text/plain", "1\\t2");
    const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
    chat.querySelector("textarea").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def huge_picture() -> bytes:
    """Return a picture of few bytes and of more pixels than are looked at."""
    buffer = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(buffer, "PNG")
    return buffer.getvalue()


def picture(name: str = "shop.png") -> FilePayload:
    """Return a picture as one is picked."""
    buffer = io.BytesIO()
    Image.new("RGB", (640, 320), "teal").save(buffer, "PNG")
    return FilePayload(name=name, mimeType="image/png", buffer=buffer.getvalue())


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    with answering(serve, MAX_UPLOAD_BYTES=str(LARGEST)) as (gateway, _):
        make_staff(gateway, ann="Operator")
        yield gateway


async def test_a_picture_and_a_document_are_sent_and_stay(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway, reduced_motion="reduce")  # axe looks at once
    chosen = visitor.chat.locator(".chosen li")
    await visitor.chat.locator("input[type=file]").set_input_files([picture(), NOTES])
    await expect(chosen).to_have_count(2)
    await expect(chosen.locator("progress")).to_have_count(0)
    assert await violations(visitor.page) == []
    await visitor.say("What is this?")
    await visitor.answered(1)
    await expect(chosen).to_have_count(0)
    for _ in range(2):
        image = visitor.asked.locator(".files img")
        await expect(image).to_be_visible()
        assert await image.evaluate(
            "(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
        ) == [
            480,
            240,
        ]
        document = visitor.asked.locator(".document")
        await expect(document).to_contain_text("notes.txt")
        answer = await visitor.page.request.get(await document.get_attribute("href") or "")
        assert (await answer.body()).decode() == "端口是 9000。"
        assert answer.headers["content-disposition"].startswith("attachment")
        await expect(visitor.asked.locator(".bubble")).to_have_text("What is this?")
        await visitor.page.reload()
        await visitor.answered(1)
    assert await violations(visitor.page) == []
    operator = await log_in(browser, gateway, "ann")
    await operator.goto("/admin/desk/?which=all")
    await operator.locator(".desk-entry").first.click()
    await expect(operator.locator(".line-user .files img")).to_be_visible()
    await operator.context.close()
    await visitor.leave()


@pytest.mark.parametrize("how", ["paste", "drop"])
async def test_a_picture_is_pasted_and_dropped(gateway: GatewayProcess, browser: Browser, how: str) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.chat.evaluate(GIVE, {"how": how, "bytes": list(picture()["buffer"])})
    await expect(visitor.chat.locator(".chosen li")).to_contain_text("screen.png")
    await expect(visitor.button).to_be_enabled()
    await visitor.button.click()  # a picture says it all
    await visitor.answered(1)
    await expect(visitor.asked.locator(".files img")).to_be_visible()
    await expect(visitor.asked.locator(".bubble")).to_have_count(0)
    await visitor.leave()


async def test_cells_of_a_table_are_pasted_as_words(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    taken = await visitor.chat.evaluate(WORDS_TOO)
    assert taken is False  # the browser puts the words in
    await expect(visitor.chat.locator(".chosen li")).to_have_count(0)
    await visitor.leave()


async def test_what_cannot_be_sent_says_why_and_is_no_part_of_the_message(
    gateway: GatewayProcess, browser: Browser
) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    chosen, files = visitor.chat.locator(".chosen li"), visitor.chat.locator("input[type=file]")
    refused = {
        "page.svg": (b"<svg/>", "page.svg is of a kind that cannot be sent."),
        "large.txt": (b"x" * (LARGEST + 1), "large.txt is too large: at most 2.0 MB."),
        "nothing.txt": (b"", "nothing.txt is empty."),
        "no-picture.png": (b"<html>", "no-picture.png is of a kind that cannot be sent."),
        "half.pdf": (b"%PDF-1.7", "half.pdf is damaged."),
        "huge.png": (huge_picture(), "huge.png has too many pixels."),
    }
    kinds = {".svg": "image/svg+xml", ".png": "image/png"}
    await files.set_input_files(
        [
            FilePayload(name=name, mimeType=kinds.get(name[-4:], "text/plain"), buffer=content)
            for name, (content, _) in refused.items()
        ]
    )
    await expect(chosen.locator("small")).to_have_text([words for _, words in refused.values()])
    await expect(visitor.button).to_be_disabled()  # there is nothing to be sent
    await visitor.chat.get_by_role("button", name="Remove: page.svg").click()
    await expect(chosen).to_have_count(len(refused) - 1)
    await files.set_input_files([FilePayload(**{**NOTES, "name": f"{number}.txt"}) for number in range(10)])
    await expect(chosen).to_have_count(10)  # what was refused takes no room
    await expect(visitor.chat.locator("progress")).to_have_count(0)
    await visitor.say("Look at these")
    await visitor.answered(1)
    await expect(chosen).to_have_count(0)
    await expect(visitor.asked.locator(".document")).to_have_count(10)
    await visitor.leave()


async def test_what_is_being_written_outlives_a_reload(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    chosen = visitor.chat.locator(".chosen li")
    await visitor.chat.locator("input[type=file]").set_input_files([picture(), NOTES])
    await expect(visitor.chat.locator("progress")).to_have_count(0)
    await visitor.text.fill("Look at")
    await visitor.page.reload()
    await visitor.is_live()
    await expect(visitor.text).to_have_value("Look at")
    await expect(chosen.locator(".name")).to_have_text(["shop.png", "notes.txt"])
    await visitor.page.wait_for_function("document.querySelector('.chosen img').naturalWidth === 480")
    await visitor.chat.get_by_role("button", name="Remove: notes.txt").click()
    await visitor.say("Look at this")
    await visitor.answered(1)
    await expect(visitor.asked.locator(".files img")).to_be_visible()
    await visitor.page.reload()
    await visitor.answered(1)
    await expect(visitor.text).to_have_value("")
    await expect(chosen).to_have_count(0)
    await visitor.leave()


async def test_a_failed_answer_about_a_picture_is_tried_again(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    await visitor.chat.locator("input[type=file]").set_input_files([picture()])
    await expect(visitor.chat.locator("progress")).to_have_count(0)
    answer = await visitor.ask("What is this? mode=cut")
    await answer.get_by_role("button", name="Try again").click()
    await visitor.answered(2)
    await expect(visitor.asked.nth(1).locator(".status")).to_have_text("")
    await expect(visitor.asked.locator(".files img")).to_have_count(2)
    await visitor.leave()


async def test_more_files_than_a_message_holds_are_spoken_of(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway)
    many = [FilePayload(**{**NOTES, "name": f"{number}.txt"}) for number in range(11)]
    told, chosen = visitor.chat.locator(".told"), visitor.chat.locator(".chosen li")
    await visitor.chat.locator("input[type=file]").set_input_files(many[:10])
    await expect(chosen).to_have_count(10)
    await expect(told).to_be_hidden()
    await visitor.chat.get_by_role("button", name="Remove: 0.txt").click()
    await visitor.chat.locator("input[type=file]").set_input_files(many[:2])
    await expect(told).to_have_text("At most 10 files go with one message.")
    await expect(chosen).to_have_count(10)
    await visitor.leave()


async def test_an_upload_that_failed_is_tried_again(gateway: GatewayProcess, browser: Browser) -> None:
    visitor = await Visitor.at_chat(browser, gateway, reduced_motion="reduce")
    chosen = visitor.chat.locator(".chosen li")
    await visitor.page.route("**/api/v1/files/documents*", lambda route: route.abort(), times=1)
    await visitor.chat.locator("input[type=file]").set_input_files([NOTES])
    await expect(chosen).to_contain_text("notes.txt could not be uploaded.")
    await visitor.text.press("Enter")
    await expect(visitor.chat.locator(".told")).to_have_text(
        "Some files are not there yet: wait, try them again or remove them."
    )
    assert await violations(visitor.page) == []
    await visitor.chat.get_by_role("button", name="Try again: notes.txt").click()
    await expect(chosen.locator("progress")).to_have_count(0)
    await expect(chosen.get_by_role("button", name="Try again")).to_be_hidden()
    await expect(visitor.text).to_be_focused()
    await expect(visitor.button).to_be_enabled()
    await visitor.button.click()
    await visitor.answered(1)
    await expect(visitor.asked.locator(".document")).to_contain_text("notes.txt")
    await visitor.leave()
