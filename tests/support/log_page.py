"""The log view in a browser, mounted by itself: what it shows of the log of a job."""

import asyncio
from typing import Any

from playwright.async_api import Page
from tests.support.waiting import DEADLINE

from jobworker.testing import RunningAgent

MOUNT = """async ([token, id, options]) => {
  const { connect } = await import("./client/jobworker.js");
  const { mountLog } = await import("./log/view.js");
  document.body.replaceChildren();
  const box = document.createElement("main");
  box.style.height = "90vh";
  document.body.append(box);
  window.agent = await connect(location.origin, { token });
  window.began = performance.now();
  window.places = [];
  window.view = mountLog(box, window.agent, id, { ...options, onchange: (place) => window.places.push(place) });
}"""
ROWS = """() => [...document.querySelectorAll(".log-row")].map((row) => ({
  from: Number(row.dataset.from),
  text: row.querySelector(".log-text").textContent,
  number: row.querySelector(".log-number")?.textContent,
  stream: row.querySelector(".log-stream")?.textContent,
  classes: row.className,
  seen: row.getBoundingClientRect().bottom > row.closest(".log-pane").getBoundingClientRect().top + 1 &&
    row.getBoundingClientRect().top < row.closest(".log-pane").getBoundingClientRect().bottom - 1,
}))"""


async def show_log(page: Page, agent: RunningAgent, job: str, **options: Any) -> None:
    """Open the page of an agent, and in place of what it shows, the log of a job with options of `mountLog`."""
    await page.goto(f"{agent.url}/")
    await page.evaluate(MOUNT, [agent.token, job, options])


async def until(page: Page, expression: str) -> None:
    """Wait until an expression is true in the page: `wait_for_function` needs eval, which the policy refuses."""
    wait = f"async () => {{ while (!({expression})) await new Promise(requestAnimationFrame); }}"
    async with asyncio.timeout(DEADLINE):
        await page.evaluate(wait)


async def rows(page: Page) -> list[dict[str, Any]]:
    """Return the rows in the document: `from`, `text`, `number`, `stream`, `classes`, `seen`."""
    found: list[dict[str, Any]] = await page.evaluate(ROWS)
    return found


async def until_row(page: Page, text: str) -> dict[str, Any]:
    """Wait until a row is seen whose text is, or begins with, a text, and return it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            for row in await rows(page):
                if row["seen"] and row["text"].startswith(text):
                    return row
            await page.evaluate("() => new Promise(requestAnimationFrame)")
