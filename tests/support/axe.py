"""Find what keeps people out of a page, by axe-core."""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

AXE = Path(__file__).parents[2] / "build" / "check-web" / "node_modules" / "axe-core" / "axe.min.js"
# Rules of WCAG 2.2 A and AA, and what axe calls best practices.
RUN = """async () => {
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  const shown = ({ id }, { target, failureSummary }) => ({ id, target, failureSummary });
  return violations.flatMap((rule) => rule.nodes.map((node) => shown(rule, node)));
}"""


async def findings(page: Page) -> list[dict[str, Any]]:
    """Return what axe finds in the page as it is now: the rule, the element and how to mend it."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make check-web, with node and npm")
    if not await page.evaluate("() => typeof axe === 'object'"):
        await page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate(RUN)
    return found
