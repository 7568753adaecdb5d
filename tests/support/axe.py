"""What axe finds wrong with a page for those who read it in another way."""

from playwright.async_api import Page

from tests.support.node import MODULES
from tests.support.programs import lacking

SOURCE = MODULES / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
_RUN = """async () => {
    const found = await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]});
    return found.violations.map(({id, impact, help, nodes}) => [impact, `${id}: ${help}: ${nodes.map(({html}) => html).join(" ")}`]);
}"""


async def violations(page: Page) -> list[str]:
    """Return the serious ones, each with the elements that are at fault."""
    if not SOURCE.exists():
        lacking(f"{SOURCE}; make makes it where npm is installed")
    await page.evaluate(SOURCE.read_text(encoding="utf-8"))
    return [words for impact, words in await page.evaluate(_RUN) if impact in SERIOUS]
