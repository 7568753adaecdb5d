"""A visitor at the web chat or at the widget, in a browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.conftest import Serve
from tests.faults.model import FakeModel, Mode, model_in_thread
from tests.support.environment import QUICK
from tests.support.server import GatewayProcess

expect.set_options(timeout=15_000)  # milliseconds: patient with a busy machine

PIPELINE = "00000000-0000-4000-8000-000000000001"
PATH = f"/chat/{PIPELINE}/"
WORDS = (
    "Set ", "**PORT** ", "and ", "*HOST*", ":\n\n", "```sh\n", "PORT=9000 ", "make ", "run\n", "```\n\n",
    "| name ", "| default |\n", "|---|---|\n", "| PORT ", "| 8000 |\n\n", "See ", "[the guide]", "(https://example.com/g).",
)  # fmt: skip
# What the browser itself says when a connection is refused or broken off is no fault of the page.
_EXPECTED = ("WebSocket connection", "net::ERR_", "Failed to load resource")


@contextmanager
def answering(serve: Serve, **settings: str) -> Iterator[tuple[GatewayProcess, FakeModel]]:
    """Run a gateway whose model answers in Markdown, slowly enough to be seen growing."""
    with model_in_thread() as model:
        model.words, model.mode, model.delay = WORDS, Mode.SLOW, 0.05
        with serve(model=model.base_url(), **QUICK, DRAIN_TIMEOUT="1", **settings) as gateway:
            yield gateway, model


class Visitor:
    """Somebody at an open chat; `faults` is what his browser complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.chat = page.locator(".chat")
        self.text = self.chat.locator("textarea")
        self.button = self.chat.locator(".send")
        self.asked = self.chat.locator(".line.user")
        self.answers = self.chat.locator(".line.bot")
        self.growing = self.chat.locator(".line.growing")
        page.on("console", self._complained)
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    @classmethod
    async def arrive(cls, browser: Browser, url: str, **context: Any) -> Self:
        """Open a page in a profile of its own; it need not be the chat's."""
        profile = await browser.new_context(**{"locale": "en-US", **context})
        visitor = cls(await profile.new_page())
        await visitor.page.goto(url)
        return visitor

    @classmethod
    async def at_chat(cls, browser: Browser, gateway: GatewayProcess, path: str = PATH, **context: Any) -> Self:
        """Open the web chat and wait until it is connected."""
        visitor = await cls.arrive(browser, f"{gateway.url}{path}", **context)
        await visitor.is_live()
        return visitor

    async def is_live(self) -> None:
        await expect(self.chat).to_have_attribute("data-state", "live", timeout=30_000)

    async def say(self, words: str) -> None:
        """Write something and send it."""
        await self.text.fill(words)
        await self.text.press("Enter")
        await expect(self.text).to_have_value("")

    async def ask(self, words: str) -> Locator:
        """Ask, and return the answer's line once it is whole."""
        before = await self.answers.count()
        await self.say(words)
        await self.answered(before + 1)
        return self.answers.nth(before)

    async def answered(self, count: int) -> None:
        """Wait until there are so many answers, all of them whole."""
        await expect(self.answers).to_have_count(count, timeout=40_000)
        await expect(self.growing).to_have_count(0, timeout=40_000)
        await expect(self.chat.locator(".line.typing")).to_have_count(0)

    async def words(self) -> list[str]:
        """Return what stands in the bubbles, in order."""
        return [text.strip() for text in await self.chat.locator(".bubble").all_inner_texts()]

    async def session(self) -> str:
        """Return the UUID of his conversation, as his browser keeps it."""
        kept = await self.page.evaluate(
            "localStorage.getItem(Object.keys(localStorage).find((name) => name.endsWith(':session')))"
        )
        return str(json.loads(kept)["id"])

    async def leave(self) -> None:
        """Close the page; fail where the browser complained of it."""
        await self.page.context.close()
        assert self.faults == []

    def _complained(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in _EXPECTED):
            self.faults.append(message.text)
