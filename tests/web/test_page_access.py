"""The page for everyone: axe finds nothing in any view, and the keyboard alone is enough."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.conftest import RunningAgent
from tests.support.axe import findings
from tests.support.browser import log_in

NewPage = Callable[..., Awaitable[Page]]
MODES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 640}, "reduced_motion": "reduce"},
}

# One that axe must find: it is seen, and has no text.
IMAGE = """async () => {
  const image = Object.assign(document.createElement("img"), { src: "./icon.svg", width: 50, height: 50 });
  document.querySelector("main").append(image);
  await image.decode();
}"""
# A report each 100 ms for ten seconds, by each of the two that announce.
REPORT_FAST = """async () => {
  const own = new (await import("./app/notices.js")).Status(document.body.appendChild(document.createElement("p")));
  const log = new (await import("./log/status.js")).Status(() => {});
  window.reports = [[], []];
  const both = [[own.element, (text) => own.report(text)], [log.announcer, (text) => log.announce(text)]];
  both.forEach(([element, report], n) => {
    new MutationObserver(() => window.reports[n].push([performance.now(), element.textContent]))
      .observe(element, { childList: true, characterData: true, subtree: true });
    let count = 0;
    const timer = setInterval(() => { report(`report ${++count}`); if (count === 100) clearInterval(timer); }, 100);
  });
}"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def jobs(start_agent: Callable[..., RunningAgent]) -> AsyncIterator[tuple[RunningAgent, dict[str, str]]]:
    """An agent with a job in each state that a view differs by; their ids by their names."""
    agent = start_agent()
    specs: dict[str, dict[str, Any]] = {
        "failed": {"shell": "echo out; echo err >&2; exit 3", "labels": {"app": "web", "tier": "1"}},
        "running": {"argv": ["sleep", "600"], "timeout": "1h"},
        "paused": {"argv": ["sleep", "600"]},
        "stopped": {"argv": ["sleep", "600"]},
        "created": {"argv": ["true"]},
        "terminal": {"argv": ["bash", "--norc"], "tty": True},
    }
    async with agent.client() as client:
        ids = {}
        for name, spec in specs.items():
            ids[name] = (await client.call("job.create", spec={**spec, "name": name}))["id"]
            if name != "created":
                await client.call("job.start", id=ids[name])
        await client.call("job.pause", id=ids["paused"])
        await client.call("job.stop", id=ids["stopped"])
        await client.call("job.wait", id=ids["failed"])
    yield agent, ids


@pytest.mark.parametrize("mode", [pytest.param(name, marks=pytest.mark.slow) for name in MODES])
async def test_axe_finds_nothing(new_page: NewPage, jobs: tuple[RunningAgent, dict[str, str]], mode: str) -> None:
    """In every view and dialog, in light and dark, and on a narrow page, which nothing makes scroll sideways."""
    agent, ids = jobs
    page = await new_page(**MODES[mode])

    async def check(view: str) -> None:
        assert await findings(page) == [], view
        wide = await page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} pixels wider than the page"

    await log_in(page, agent, "wrong")
    await expect(page.get_by_role("alert")).to_be_visible()
    await check("log in")
    await log_in(page, agent)
    await expect(page.get_by_role("row")).to_have_count(len(ids) + 1)
    await check("jobs")
    await page.get_by_text("local", exact=True).click()
    await check("menu")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    for name, job in ids.items():
        await page.goto(f"{agent.url}/#/jobs/{job}")
        await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        await expect(page.get_by_role("heading", name="What happened")).to_be_visible()
        await expect(page.get_by_text("created by token:local")).to_be_visible()
        await expect(page.locator(".log-body")).to_be_visible()
        if name == "terminal":
            await expect(page.locator(".xterm-screen")).to_be_visible()
            await page.get_by_role("button", name="Type here").click()
            await expect(page.get_by_text("You type.")).to_be_visible()
        await check(name)
    await page.goto(f"{agent.url}/#/jobs/{ids['running']}")
    for button in ("Stop…", "Signal…", "Change…"):
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await check(button)
        await page.keyboard.press("Escape")
    await page.goto(f"{agent.url}/#/run")
    await expect(page.get_by_role("heading", name="Run a job")).to_be_visible()
    await check("run")
    await page.goto(f"{agent.url}/#/jobs/{'0' * 12}")
    await expect(page.get_by_role("heading", name="This job cannot be shown")).to_be_visible()
    await check("no such job")
    await page.evaluate(IMAGE)
    assert "image-alt" in [found["id"] for found in await findings(page)]


async def test_the_keyboard_alone(page: Page, jobs: tuple[RunningAgent, dict[str, str]]) -> None:
    """Log in, open a job from the list and stop it without a pointer; the focus is always visible, and never lost."""
    agent, _ = jobs
    async with agent.client() as client:
        made = await client.call("job.create", spec={"argv": ["sleep", "600"], "name": "by keyboard"})
        await client.call("job.start", id=made["id"])
    await page.goto(f"{agent.url}/#/jobs?name=by+keyboard")
    await expect(page.get_by_label("Token", exact=True)).to_be_focused()
    await page.keyboard.insert_text(agent.token)
    await page.keyboard.press("Enter")
    link = page.get_by_role("link", name="by keyboard")
    await tab_to(page, link)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="by keyboard", exact=True)).to_be_visible()
    await tab_to(page, page.get_by_role("button", name="Stop…"))
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await tab_to(page, dialog.get_by_role("button", name="Stop", exact=True))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Receipt of the stop")).to_be_visible()
    await expect(page.get_by_role("button", name="Delete…")).to_be_visible()
    assert await page.evaluate("() => document.activeElement !== document.body")
    await expect(page.get_by_role("status").filter(has_text=re.compile("by keyboard"))).to_have_count(1)


async def tab_to(page: Page, target: Any) -> None:
    """Press Tab until the element has the focus, which is visible there."""
    await expect(target).to_be_visible()
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await target.evaluate("(element) => element === document.activeElement"):
            break
    await expect(target).to_be_focused()
    assert await target.evaluate("(element) => getComputedStyle(element).outlineStyle") != "none"


async def test_what_is_read_to_people_comes_seldom(page: Page, shared: RunningAgent) -> None:
    """A status at most every five seconds, the newest; the output of a job is in no live region."""
    await page.clock.install()
    await page.goto(f"{shared.url}/")
    await page.evaluate(REPORT_FAST)
    await page.clock.run_for(21_000)
    for reports in await page.evaluate("reports"):
        times, texts = [time for time, _ in reports], [text for _, text in reports]
        assert len(texts) == len(set(texts)) >= 3, reports
        assert all(after - before >= 4999 for before, after in pairwise(times)), reports
        assert texts[-1] == "report 100"


async def test_the_output_is_in_no_live_region(page: Page, jobs: tuple[RunningAgent, dict[str, str]]) -> None:
    agent, ids = jobs
    await log_in(page, agent)
    for name in ("failed", "terminal"):
        await page.goto(f"{agent.url}/#/jobs/{ids[name]}")
        await expect(page.locator(".log-row").first).to_be_visible()
        live = page.locator("[aria-live]:not([aria-live=off]), [role=log], [role=status], [role=alert]")
        assert await live.count() >= 3
        assert await live.locator(".log-row, .xterm-rows, .term-text").count() == 0
        assert await page.locator(":is([aria-live], [role=log]) :is(.log-row, .xterm-rows)").count() == 0
