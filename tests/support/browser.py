"""Debian's Chromium, on pages that a test serves."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.async_api import Browser, Page, async_playwright

from tests.support.programs import tool


@contextmanager
def served(files: dict[str, str]) -> Iterator[str]:
    """Serve texts by their path on a loopback port, HTML unless a path ends in .js, and give the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            kind = "text/javascript" if self.path.endswith(".js") else "text/html"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Give a new browser."""
    path = tool("chromium")
    async with async_playwright() as playwright:
        # There is no graphics card: what imitates one costs an eighth of a test's processor time.
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--disable-gpu", "--disable-software-rasterizer"]
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """Give an empty page of a new browser."""
    async with chromium() as browser:
        yield await browser.new_page()
