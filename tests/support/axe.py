"""axe-core (npm), which finds what people with assistive technology cannot use."""

from typing import Any

from playwright.async_api import Page

from tests.support.node import MODULES
from tests.support.programs import lacking

SOURCE = MODULES / "axe-core" / "axe.min.js"
GRAVE = {"serious", "critical"}
RUN = "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"


async def grave_violations(page: Page) -> list[str]:
    """Return what is seriously wrong with a page as it is now, in words."""
    if not SOURCE.exists():
        lacking("axe-core; make installs it where there is npm")
    await page.evaluate(SOURCE.read_text("utf-8"))  # the browser's debugger runs it: our policy lets no page do that
    found: dict[str, Any] = await page.evaluate(RUN)
    assert found["passes"], "axe looked at something"
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:200] for node in violation['nodes']]}"
        for violation in found["violations"]
        if violation["impact"] in GRAVE
    ]
