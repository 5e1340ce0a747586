"""Chromium for the tests of the page: what goes wrong in a page, and how a test logs in."""

import asyncio
import os
import re
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, BrowserType, ConsoleMessage, Page

from jobworker.testing import RunningAgent

CHROMIUM = Path(os.environ.get("JOBWORKER_CHROMIUM", "/usr/bin/chromium"))
# Chromium prints each violation as an error; this makes certain that each is seen, also one that is only reported.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


async def launch(chromium: BrowserType, env: dict[str, str | float | bool] | None = None) -> Browser:
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses to run as root
    return await chromium.launch(executable_path=CHROMIUM, args=arguments, env=env)


class Problems:
    """What went wrong in the pages of a test: errors on the console, errors of scripts, violations of the policy.

    `forgive` takes an expression for those that a test expects.
    """

    def __init__(self) -> None:
        self._found: list[str] = []
        self.seen = asyncio.Event()  # set by the first of them
        self._expected: list[str] = []

    async def watch(self, context: BrowserContext) -> None:
        await context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"error of a script: {error.error}"))

    def forgive(self, expression: str) -> None:
        self._expected.append(expression)

    def unexpected(self) -> list[str]:
        return [text for text in self._found if not any(re.search(one, text) for one in self._expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"{message.text} ({message.location['url']})")

    def _note(self, text: str) -> None:
        self._found.append(text)
        self.seen.set()


async def log_in(page: Page, agent: RunningAgent, token: str | None = None) -> None:
    """Open the page of an agent, and log in with a token, by default an admin's."""
    await page.goto(f"{agent.url}/")
    await page.get_by_label("Token", exact=True).fill(token or agent.token)
    await page.get_by_role("button", name="Log in", exact=True).click()
