"""Staff in a browser, at the admin of a running gateway."""

from playwright.async_api import Browser, Page, expect

from tests.support.server import GatewayProcess, manage

expect.set_options(timeout=15_000)  # milliseconds: patient with a busy machine

PASSWORD = "a password for tests"
NO_POLLING = "window.setInterval = () => 0;"
MAKE = """
from django.contrib.auth.models import Group, User
for name, group in {members!r}.items():
    user = User.objects.create_user(name, password={password!r}, is_staff=True, is_superuser=not group)
    user.groups.set(Group.objects.filter(name=group))
"""


def make_staff(gateway: GatewayProcess, **members: str) -> None:
    """Make members of staff, each with the name of his group; without one he is a superuser."""
    code = MAKE.format(members=members, password=PASSWORD)
    changes = {**gateway.environment, "DATABASE_URL": gateway.database_url}
    manage("shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, **changes)


async def log_in(
    browser: Browser,
    gateway: GatewayProcess,
    name: str,
    *,
    port: int | None = None,
    polling: bool = False,
    bypass_csp: bool = False,
) -> Page:
    """Return a page of a new profile in which `name` is logged in.

    Without `polling`, a live page is fetched anew by nothing but what its socket tells: a wake-up that is lost is seen.
    With `bypass_csp` the pages' policy stops nothing.
    """
    base_url = f"http://127.0.0.1:{port or gateway.port}"
    context = await browser.new_context(base_url=base_url, bypass_csp=bypass_csp)
    if not polling:
        await context.add_init_script(NO_POLLING)
    page = await context.new_page()
    await page.goto("/admin/login/")
    await page.fill("[name=username]", name)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")
    await page.wait_for_url("**/admin/")
    return page
