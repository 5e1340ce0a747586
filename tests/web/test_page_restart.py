"""An agent that is killed, comes back and is upgraded under open pages: nothing is lost, each has a line of it."""

import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.async_api import Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import Problems, log_in
from tests.support.log_page import rows, until_row

NewPage = Callable[..., Awaitable[Page]]
KEEP = "Stay logged in while this tab is open"
LOST, BACK = "The connection is lost. Reconnecting…", "Connected again."
# What #line shows, from now on.
NOTE_LINE = """() => {
  const line = document.getElementById("line");
  window.lines = [];
  const note = () => { if (line.textContent !== window.lines.at(-1)) window.lines.push(line.textContent); };
  new MutationObserver(note).observe(line, { childList: true, characterData: true, subtree: true });
}"""
COUNT = "n=0; until [ -e {gate} ]; do n=$((n + 1)); echo count $n; sleep 0.02; done; echo end $n"
NEWER = (
    "import jobworker, sys; jobworker.__version__ = '99.0.0'; sys.argv[0] = 'jobworker';"
    " from jobworker.__main__ import main; sys.exit(main())"
)


async def test_open_pages_over_a_kill_of_the_agent(
    page: Page, problems: Problems, start_agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    """A log and a terminal that are followed go on at the byte while their jobs write, and each page has one line."""
    agent, gate = start_agent(), tmp_path / "gate"
    specs: list[dict[str, Any]] = [{"tty": False}, {"tty": True}]
    async with agent.client() as client:
        jobs = [
            (await client.call("job.run", spec=spec | {"shell": COUNT.format(gate=gate)}))["job"] for spec in specs
        ]
    other = await page.context.new_page()
    for each, job in zip((page, other), jobs, strict=True):
        await log_in(each, agent)
        await each.goto(f"{agent.url}/#/jobs/{job['id']}")
    log = page.get_by_role("region", name="Log", exact=True)
    screen = other.locator(".term-text")
    for shown in (log, screen):
        await expect(shown).to_contain_text(re.compile(r"count \d+"))
    for each in (page, other):
        await each.evaluate(NOTE_LINE)
    agent.kill()
    for each in (page, other):
        await expect(each.locator("#line")).to_have_text(LOST)
    agent.start()
    for each in (page, other):
        await expect(each.locator("#line")).to_have_text(BACK, timeout=DEADLINE * 1000)
    gate.touch()
    await until_row(page, "end")
    await expect(screen).to_contain_text(re.compile(r"end \d+"))
    texts = [(row["from"], row["text"]) for row in await rows(page)]
    for (start, text), (following, next_text) in pairwise(texts):
        assert following == start + len(text) + 1, (text, next_text)
    numbers = [int(text.split()[1]) for _, text in texts[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    words = re.findall(r"count (\d+)", await screen.inner_text())
    assert words == [str(n) for n in range(int(words[0]), int(words[0]) + len(words))]
    assert await log.get_by_role("alert").is_hidden()
    for each in (page, other):
        assert [line for line in await each.evaluate("window.lines") if line] == [LOST, BACK]
    problems.forgive("WebSocket connection to")


async def test_an_agent_of_another_version(
    page: Page, problems: Problems, start_agent: Callable[..., RunningAgent]
) -> None:
    """After an upgrade under an open page that page asks to be loaded again, and what is loaded is of the new one."""
    agent = start_agent()
    async with agent.client() as client:
        job = (await client.call("job.run", spec={"shell": "echo begun; exec sleep 600"}))["job"]["id"]
    await page.goto(f"{agent.url}/#/jobs/{job}")
    await page.get_by_label(KEEP).check()
    await page.get_by_label("Token", exact=True).fill(agent.token)
    await page.keyboard.press("Enter")
    log = page.get_by_role("region", name="Log", exact=True)
    await expect(log).to_contain_text("begun")
    agent.end()
    agent.program = ["-c", NEWER]
    agent.start()
    alert = page.get_by_role("alert").filter(has_text="99.0.0")
    await expect(alert).to_contain_text("The agent is version 99.0.0, this page is of", timeout=DEADLINE * 1000)
    await expect(log).to_contain_text("begun")  # it works on until then
    await page.get_by_role("button", name="Reload").click()
    await expect(log).to_contain_text("begun")
    assert await page.locator("meta[name=version]").get_attribute("content") == "99.0.0"
    await expect(alert).to_be_hidden()
    problems.forgive("WebSocket connection to")


async def duplicate(page: Page) -> Page:
    """Open the same page with a copy of the storage of its tab, as a browser does that duplicates a tab."""
    async with page.context.expect_page() as opened:
        await page.evaluate("() => { open(location.href); }")
    return await opened.value


async def test_a_page_opened_twice(page: Page, shared: RunningAgent, problems: Problems) -> None:
    """Both are live and independent; the log-out of one ends the other, which shows why."""
    async with shared.client() as client:
        made = await client.call("auth.ticket")
        await page.goto(f"{made['url']}#ticket={made['ticket']}&to=/jobs%3Fname=twice")
        await page.get_by_text("local", exact=True).click()
        await page.get_by_label(KEEP).check()
        await page.keyboard.press("Escape")
        other = await duplicate(page)
        await client.call("job.create", spec={"argv": ["true"], "name": "twice"})
        for each in (page, other):
            await expect(each.get_by_role("link", name="twice", exact=True)).to_be_visible()
    await other.get_by_role("link", name="twice", exact=True).click()
    await expect(other.get_by_role("heading", name="twice", exact=True)).to_be_visible()
    await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    await page.get_by_text("local", exact=True).click()
    await page.get_by_role("button", name="Log out").click()
    for each in (page, other):
        await expect(each.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
    await expect(other.get_by_role("alert")).to_contain_text("logged out")
