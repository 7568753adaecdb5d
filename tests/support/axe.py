"""What axe finds wrong with a page for those who read it in another way."""

from playwright.async_api import Page

from tests.support.node import MODULES
from tests.support.programs import lacking

SOURCE = MODULES / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_RUN = """async (rules) => {
    const {violations} = await axe.run(document, {runOnly: rules});
    const about = ({id, help, nodes}) => [id, help, ...nodes.map(({html}) => html)].join(": ");
    return violations.map((violation) => [violation.impact, about(violation)]);
}"""


async def violations(page: Page) -> list[str]:
    """Return the serious ones, each with the elements that are at fault."""
    if not SOURCE.exists():
        lacking(f"{SOURCE}; make makes it where npm is installed")
    await page.evaluate(SOURCE.read_text(encoding="utf-8"))
    return [words for impact, words in await page.evaluate(_RUN, _RULES) if impact in SERIOUS]
