"""What browsers let our pages do: nothing of a page is stopped by its policy, and what is slipped into it is."""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import Serve
from tests.support.admin import log_in, make_staff
from tests.support.clients import DEFAULT_PIPELINE, PipelineClient
from tests.support.server import GatewayProcess

CHAT = f"/chat/{DEFAULT_PIPELINE}/"
STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}
OF_THE_ADMIN = {**STRICT, "script-src": "'self' 'unsafe-eval'", "style-src": "'self' 'unsafe-inline'"}
LISTS = (
    *(f"conversations/{name}" for name in ("chatsession", "contactrequest", "cannedreply", "pipeline", "document")),
    *(f"connections/{name}" for name in ("connection", "hubclient", "worker", "application", "auditentry")),
    "connections/accesstoken",
    *(f"auth/{name}" for name in ("user", "group")),
)  # fmt: skip
FORMS = ("conversations/pipeline/add", "conversations/document/add", "connections/application/add", "auth/user/add")
# Tells the console what the policy stops, also where no script of the page's would notice.
TELL = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`stopped: ${event.violatedDirective} ${event.blockedURI} ${event.sample} ${event.sourceFile}`));
"""


@pytest.fixture(scope="module")
def gateway(serve: Serve) -> Iterator[GatewayProcess]:
    """A gateway with an administrator."""
    with serve() as gateway:
        make_staff(gateway, root="")
        yield gateway


def policy(answer: httpx2.Response) -> dict[str, str]:
    header = answer.headers.get("Content-Security-Policy", "")
    return {name: rest for name, _, rest in (part.strip().partition(" ") for part in header.split(";")) if name}


def test_every_page_says_what_it_may_do(gateway: GatewayProcess) -> None:
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        assert policy(client.get(CHAT)) == STRICT
        assert policy(client.get("/playground/nothing/")) == STRICT, "a page that is not there"
        assert policy(client.get("/admin/login/")) == OF_THE_ADMIN
        assert policy(client.get("/admin/nonsense/")) == OF_THE_ADMIN
        assert policy(client.get("/api/docs/")) == {**STRICT, "style-src": "'self' 'unsafe-inline'"}
        assert policy(client.post("/admin/login/", data={"username": "root"})) == OF_THE_ADMIN, "a refused form"


def test_a_call_is_no_page_and_says_nothing(gateway: GatewayProcess) -> None:
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=30) as client:
        assert "Content-Security-Policy" not in client.get("/api/v1/pipelines").headers


async def watched(page: Page) -> list[str]:
    """Return the list into which goes what the page's console complains of, and its scripts' errors."""
    complaints: list[str] = []
    await page.context.add_init_script(TELL)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    return complaints


@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_of_staff_s_pages_is_stopped(gateway: GatewayProcess, browser: Browser) -> None:
    async with await PipelineClient.connect(gateway) as client:
        await client.ask("How do I load documents?")
        session = client.session_id
        page = await log_in(browser, gateway, "root")
        complaints = await watched(page)
        for path in (
            "/admin/", "/admin/dashboard/", "/admin/desk/", f"/admin/desk/{session}/", "/admin/broadcast/",
            *(f"/admin/{name}/" for name in (*LISTS, *FORMS)),
        ):  # fmt: skip
            answer = await page.goto(path, wait_until="load")
            assert answer is not None
            assert answer.status == 200, path
            assert complaints == [], path
        # The lists' first rows: a transcript, a pipeline's form, a user's.
        for name in ("conversations/chatsession", "conversations/pipeline", "auth/user"):
            await page.goto(f"/admin/{name}/")
            await page.locator("#result_list th a").first.click()
            await page.wait_for_load_state("load")
            assert complaints == [], name
        await page.context.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_api_s_docs_are_drawn(gateway: GatewayProcess, browser: Browser) -> None:
    page = await (await browser.new_context(base_url=gateway.url)).new_page()
    complaints = await watched(page)
    await page.goto("/api/docs/")
    await expect(page.locator("text=Messages of a session, or of all")).to_be_visible()
    assert complaints == []
    await page.context.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_slipped_into_a_page_does_not_run(gateway: GatewayProcess, browser: Browser) -> None:
    page = await (await browser.new_context(base_url=gateway.url)).new_page()
    complaints = await watched(page)

    async def spoilt(route: object) -> None:
        answer = await route.fetch()  # type: ignore[attr-defined]
        evil = "<script>window.fired = 1</script><img src=x onerror='window.fired = 1'><style>h1 { color: red }</style>"
        body = (await answer.text()).replace("</main>", f"{evil}</main>")
        await route.fulfill(response=answer, body=body)  # type: ignore[attr-defined]

    await page.route(f"**{CHAT}", spoilt)
    await page.goto(CHAT)
    assert await page.evaluate("window.fired") is None
    assert len([told for told in complaints if "stopped: script-src" in told]) == 2
    assert [told for told in complaints if "stopped: style-src" in told]
    await page.context.close()
