"""A trap for words that become more than words in a browser: see `tests.support.hostile`."""

from typing import Self
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebSocket

_WORD = "caught: "
_INIT = f"""window.fired = () => console.info("{_WORD}ran");
addEventListener("securitypolicyviolation", ({{violatedDirective, blockedURI, sourceFile, sample}}) =>
    console.info("{_WORD}" + [violatedDirective, blockedURI, sourceFile, sample].join(" ")));"""
# Everything in the page, shadow roots too, that would run or load something of others if it were touched.
_WALK = r"""() => {
    const found = [];
    const foreign = /^(?:javascript|vbscript|data:(?!image\/|,)|(?:https?:)?\/\/evil)/i;
    const opening = ["src", "action", "formaction", "xlink:href", "data", "background", "poster", "srcset"];
    const forbidden = `base, object, embed, iframe, math, meta[http-equiv=refresh i], link[href*=evil], [id^=clobber],
        [name^=clobber], img[id], [style*=evil], [style*=fired], [style*=fixed][onclick]`;
    const isData = (element) => element.localName === "script" && /json/.test(element.type);
    const visit = (root) => {
        for (const element of root.querySelectorAll("*")) {
            for (const {name, value} of element.attributes) {
                const target = value.replace(/[\x00-\x20]/g, "");
                const isScript = foreign.test(target) && !/^(?:https?:)?\/\//i.test(target);
                const isHarmful = name === "href" ? isScript : opening.includes(name) && foreign.test(target);
                if (/^on/i.test(name) || isHarmful) {
                    found.push(`${element.localName}[${name}=${value.slice(0, 80)}]`);
                }
            }
            if (element.matches(forbidden) || (/^(?:style|script)$/.test(element.localName) && !isData(element)
                && /fired|evil\.test/.test(element.textContent))) {
                found.push(element.outerHTML.slice(0, 120));
            }
            if (element.shadowRoot) {
                visit(element.shadowRoot);
            }
        }
    };
    visit(document);
    return found;
}"""


class Trap:
    """Notes whatever words bring about in the pages of a profile, which are served by `hosts` only."""

    def __init__(self, *addresses: str) -> None:
        self.caught: list[str] = []
        self._hosts = {urlsplit(address).netloc for address in addresses}

    async def set(self, profile: BrowserContext) -> Self:
        """Begin to listen; pages that are open hear of it when they are loaded anew."""
        await profile.add_init_script(_INIT)
        profile.on("console", self._said)
        profile.on("dialog", self._opened)
        profile.on("request", self._asked)
        profile.on("weberror", lambda error: self.caught.append(f"an error: {error.error}"))
        profile.on("page", self._watch)
        for page in profile.pages:
            self._watch(page, opened=False)
        return self

    async def is_empty(self, page: Page, url: str = "") -> None:
        """Fail where anything was caught, stands ready in the page, or led away from `url`."""
        assert await page.evaluate(_WALK) == [], page.url
        assert self.caught == [], page.url
        assert page.url == url or not url

    async def snaps(self, page: Page) -> None:
        """Fail unless the page's trap notes an element that runs by itself; it is no use after that."""
        async with page.expect_console_message(lambda message: message.text.startswith(_WORD)):
            await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=fired()>')")
        assert await page.evaluate(_WALK) == ["img[onerror=fired()]"]
        assert self.caught

    def _said(self, message: ConsoleMessage) -> None:
        if message.text.startswith(_WORD) or "Content Security Policy" in message.text:
            self.caught.append(message.text)

    async def _opened(self, dialog: Dialog) -> None:
        self.caught.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc not in self._hosts:
            self.caught.append(f"a request: {request.url}")

    def _watch(self, page: Page, *, opened: bool = True) -> None:
        if opened and len(page.context.pages) > 1:
            self.caught.append(f"a page: {page.url}")
        page.on("websocket", self._connected)

    def _connected(self, socket: WebSocket) -> None:
        if urlsplit(socket.url).netloc not in self._hosts:
            self.caught.append(f"a socket: {socket.url}")
