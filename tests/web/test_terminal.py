"""Terminals in the browser: real shells, in xterm.js, in pages of a real agent."""

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import Problems

from jobworker.client import Client
from jobworker.model import JobSpec
from jobworker.web.files import STATIC

MOUNT = """async ([token, job]) => {
  const { connect } = await import("./client/jobworker.js");
  const { mountTerminal } = await import("./terminal/view.js");
  const agent = await connect(new URL("./rpc", location.href), { token });
  const element = document.createElement("div");
  document.body.replaceChildren(element);
  window.view = mountTerminal(element, agent, job);
}"""
SHELL: dict[str, Any] = {
    "argv": ["bash", "--norc", "--noprofile", "-i"],
    "env": {"PS1": "$ "},
    "tty": {"rows": 24, "cols": 80},
}
NewPage = Callable[..., Awaitable[Page]]
TIMEOUT = DEADLINE * 1000  # of expect, in ms


@pytest_asyncio.fixture(loop_scope="session")
async def shell(shared: RunningAgent) -> AsyncIterator[tuple[Client, str]]:
    """A client, and the id of a job that is an interactive shell in a terminal."""
    async with shared.client() as client:
        job = await client.create(JobSpec(**SHELL))
        await client.start(job.id)
        yield client, job.id
        await client.delete(job.id, force=True)


async def mount(page: Page, agent: RunningAgent, job: str, token: str | None = None) -> None:
    """Show the terminal of a job in a page of the agent, and wait for its screen."""
    await page.goto(f"{agent.url}/")
    await page.evaluate(MOUNT, [token or agent.token, job])
    await expect(page.locator(".xterm-screen")).to_be_visible(timeout=TIMEOUT)


def screen(page: Page) -> Any:
    """What the screen shows, as those read it who do not see it."""
    return expect(page.locator(".term-text"), "the screen as text")


def test_the_vendored_files_are_untouched() -> None:
    """Each file is the one that was recorded when it came from its package; its licence is beside it."""
    folder = STATIC / "vendor"
    recorded = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == recorded
    assert "xterm-6.0.0/LICENSE" in found


async def test_typing_into_a_shell(page: Page, shared: RunningAgent, shell: tuple[Client, str]) -> None:
    """What is typed runs, its output shows, in colours; the terminal gets the size of its element."""
    client, job = shell
    await client.write(job, b"printf 'early\\n'\n")
    await mount(page, shared, job)
    await screen(page).to_contain_text("early", timeout=TIMEOUT)
    await expect(page.locator(".term-note")).to_have_text(re.compile("Nobody types"))
    await page.get_by_role("button", name="Type here").click()
    await expect(page.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
    await page.keyboard.type("echo héllo $((6*7)); printf '\\033[38;2;1;200;3mgreen\\033[m\\n'\n")
    await screen(page).to_contain_text("héllo 42", timeout=TIMEOUT)
    await expect(page.locator(".xterm-rows span", has_text=re.compile("^green$"))).to_have_css(
        "color", "rgb(1, 200, 3)"
    )
    await expect(page.locator(".xterm-rows > div")).not_to_have_count(SHELL["tty"]["rows"], timeout=TIMEOUT)
    size = (await client.sizes(job)).sizes[-1]
    await page.keyboard.type("stty size\n")
    await screen(page).to_contain_text(f"{size.rows} {size.cols}", timeout=TIMEOUT)
    assert await page.evaluate("document.querySelector('.xterm style').nonce") != ""


async def test_two_pages_and_one_writer(new_page: NewPage, shared: RunningAgent, shell: tuple[Client, str]) -> None:
    """Both see all; one types, the other takes over by a click, and the first is told."""
    _, job = shell
    one, other = await new_page(), await new_page()
    await mount(one, shared, job)
    await mount(other, shared, job)
    await one.locator(".term-screen").click()
    await expect(one.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
    await one.keyboard.type("echo from-$((1))\n")
    await screen(one).to_contain_text("from-1", timeout=TIMEOUT)
    await screen(other).to_contain_text("from-1", timeout=TIMEOUT)
    await expect(other.locator(".term-note")).to_have_text(re.compile("local types, in another"), timeout=TIMEOUT)
    await other.locator(".term-screen").click()
    await other.keyboard.type("echo lost\n")
    await other.get_by_role("button", name="Take over").click()
    await expect(other.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
    await expect(one.locator(".term-note")).to_have_text(re.compile("local types"), timeout=TIMEOUT)
    await other.keyboard.type("echo from-$((2))\n")
    await screen(one).to_contain_text("from-2", timeout=TIMEOUT)
    await one.locator(".term-screen").click()
    await one.keyboard.type("echo lost\n")
    await other.keyboard.type("exit 7\n")
    for page in (one, other):
        await expect(page.locator(".term-note")).to_have_text("The job has ended with code 7.", timeout=TIMEOUT)
        await screen(page).not_to_contain_text("lost")


async def test_queries_are_answered_once(new_page: NewPage, shared: RunningAgent) -> None:
    """By the page that types; while none does, a query has no answer and makes no page begin."""
    script = r"read line; printf '\033[casked\n'; read line; printf '\033[c'; exec cat -v"
    async with shared.client() as client:
        job = await client.create(JobSpec(argv=["bash", "-c", script], tty=True))
        await client.start(job.id)
        one, other = await new_page(), await new_page()
        await mount(one, shared, job.id)
        await mount(other, shared, job.id)
        await client.write(job.id, b"go\n")
        for page in (one, other):
            await screen(page).to_contain_text("asked", timeout=TIMEOUT)
        await one.get_by_role("button", name="Type here").click()
        await expect(one.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
        await one.keyboard.type("go\n")
        for page in (one, other):
            await screen(page).to_contain_text("^[[?1;2c", timeout=TIMEOUT)
        await other.get_by_role("button", name="Take over").click()
        await expect(other.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
        await other.keyboard.type("end\n")
        await screen(one).to_contain_text("end", timeout=TIMEOUT)
        claim = await client.claim_input(job.id, steal=True)
        assert claim.offset == len("go\n" + "go\n" + "\033[?1;2c" + "end\n")
        await client.delete(job.id, force=True)


@pytest.mark.slow
async def test_typing_over_a_restart_of_the_agent(
    page: Page, problems: Problems, start_agent: Callable[..., RunningAgent]
) -> None:
    """What is typed while the agent is killed and comes back reaches the job once, and the screen goes on."""
    agent = start_agent()
    async with agent.client() as client:
        job = await client.create(JobSpec(argv=["bash", "-c", 'read line; echo "got:$line."; exec cat'], tty=True))
        await client.start(job.id)
    await mount(page, agent, job.id)
    await page.get_by_role("button", name="Type here").click()
    await expect(page.locator(".term-note")).to_have_text(re.compile("You type"), timeout=TIMEOUT)
    await page.keyboard.type("abc")
    agent.kill()
    await page.keyboard.type("def")
    agent.start()
    await page.keyboard.type("ghi\n")
    await screen(page).to_contain_text("got:abcdefghi.", timeout=TIMEOUT)
    await page.keyboard.press("Shift+F6")
    await expect(page.locator(".term-text")).to_be_focused()
    await page.get_by_role("button", name="Stop typing").click()
    await expect(page.locator(".term-note")).to_have_text(re.compile("Nobody types"), timeout=TIMEOUT)
    await page.locator(".xterm-helper-textarea").focus()
    await page.keyboard.press("Tab")  # not typing, the terminal keeps no key from the page
    await expect(page.locator(".term-text")).to_be_focused()
    problems.forgive("WebSocket connection to")
