"""Each view of the page in light, in dark and on a narrow screen, compared with a screenshot that was looked at."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.conftest import RunningAgent
from tests.support import screenshots
from tests.support.browser import log_in

NewPage = Callable[..., Awaitable[Page]]
MODES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1000, "height": 900}},
    "dark": {"viewport": {"width": 1000, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 1500}},
}
OUTPUT = r"""
printf 'compiling \033[32mok\033[0m\n'; sleep 0.1; echo 'warning: deprecated' >&2; sleep 0.1
for n in 1 2 3 4 5 6; do printf 'test %d \033[1mpassed\033[0m\n' $n; done
printf '\033[2Jtest 7 \033[31mfailed\033[0m\n'
echo 'a line that is rather long, and goes on and on, so that it is wider than a narrow screen is'; exit 3
"""
SPECS: dict[str, dict[str, Any]] = {
    "created": {"argv": ["make", "install"], "labels": {"app": "web", "tier": "front"}},
    "paused": {"argv": ["sleep", "600"]},
    "running": {"argv": ["sleep", "600"], "timeout": "1h"},
    "terminal": {"shell": r"printf 'top \033[7mselected\033[0m\n'; exec sleep 600", "tty": {"rows": 24, "cols": 80}},
    "failed": {"shell": OUTPUT, "labels": {"app": "web"}},
}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def jobs(start_agent: Callable[..., RunningAgent]) -> AsyncIterator[tuple[RunningAgent, dict[str, str]]]:
    """An agent with a job in each state that looks differently; their ids by their names."""
    agent = start_agent()
    async with agent.client() as client:
        ids = {}
        for name, spec in SPECS.items():
            ids[name] = (await client.call("job.create", spec={**spec, "name": name}))["id"]
            if name != "created":
                await client.call("job.start", id=ids[name])
        await client.call("job.pause", id=ids["paused"])
        await client.call("job.wait", id=ids["failed"])
    yield agent, ids


async def show_log_in(page: Page, agent: RunningAgent, _: dict[str, str]) -> None:
    await log_in(page, agent, "wrong")
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Token", exact=True).fill("")


async def show_jobs(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await log_in(page, agent)
    await expect(page.get_by_role("row")).to_have_count(len(ids) + 1)


async def show_menu(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await show_jobs(page, agent, ids)
    await page.get_by_text("local", exact=True).click()
    await expect(page.get_by_role("button", name="Log out")).to_be_visible()


async def show_job(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{ids['failed']}?q=test")
    await expect(page.get_by_text("1 of 7")).to_be_visible()
    await expect(page.locator(".log-number").first).to_have_text("1")
    await expect(page.get_by_text("created by token:local")).to_be_visible()


async def show_running(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{ids['running']}")
    await expect(page.get_by_text("no output yet")).to_be_visible()
    await expect(page.get_by_role("region", name="Usage")).to_be_visible()
    await expect(page.get_by_text("created by token:local")).to_be_visible()


async def show_stop(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await show_running(page, agent, ids)
    await page.get_by_role("button", name="Stop…").click()
    await expect(page.get_by_role("dialog")).to_be_visible()


async def show_terminal(page: Page, agent: RunningAgent, ids: dict[str, str]) -> None:
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{ids['terminal']}")
    await expect(page.locator(".xterm-rows")).to_contain_text("selected")
    await expect(page.locator(".log-rows")).to_contain_text("selected")
    await expect(page.get_by_text("created by token:local")).to_be_visible()


async def show_run(page: Page, agent: RunningAgent, _: dict[str, str]) -> None:
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/run?line=jw+run+--name+build+--timeout+10m+--+make+test")
    await expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


VIEWS = {
    "log-in": show_log_in,
    "jobs": show_jobs,
    "menu": show_menu,
    "job": show_job,
    "running": show_running,
    "stop": show_stop,
    "terminal": show_terminal,
    "run": show_run,
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
async def test_each_view_looks_as_before(
    new_page: NewPage, jobs: tuple[RunningAgent, dict[str, str]], mode: str, tmp_path: Path
) -> None:
    screenshots.require_font()
    wrong = []
    for view, show in VIEWS.items():
        page = await screenshots.open_page(new_page, **MODES[mode])
        await show(page, *jobs)
        wrong.append(await screenshots.check(page, f"{view}-{mode}", tmp_path))
        await page.context.close()
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.slow
async def test_a_page_that_is_broken_is_seen(new_page: NewPage, jobs: tuple[RunningAgent, dict[str, str]]) -> None:
    """Without its stylesheet, with its columns below each other, or with a part of it missing."""
    screenshots.require_font()
    known = (screenshots.FOLDER / "job-light.png").read_bytes()
    harms = {
        "nothing": "",
        "style": "document.querySelector('link[rel=stylesheet]').disabled = true",
        "columns": "document.querySelector('.job').style.display = 'block'",
        "facts": "document.querySelector('.about').remove()",
        "log": "document.querySelector('.log-rows').remove()",
        "margin": "document.querySelector('main').style.marginTop = '20px'",
    }
    shares = {}
    for name, harm in harms.items():
        page = await screenshots.open_page(new_page, **MODES["light"])
        await show_job(page, *jobs)
        await page.evaluate(f"() => {{ {harm} }}")
        shares[name] = await screenshots.difference(page, known, await screenshots.shoot(page))
        await page.context.close()
    assert shares.pop("nothing") <= screenshots.TOLERANCE, shares
    assert min(shares.values()) > screenshots.TOLERANCE, shares
