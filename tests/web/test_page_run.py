"""Run a job from the page: from the form, and from a line as `jw run` takes it."""

import json
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.conftest import RunningAgent
from tests.support.browser import log_in

# Each is given to the page and to `jw create`, which must make the same spec of it.
LINES = [
    "make test",
    "jw run -- make test",
    'jw run --name build -l app=web --label tier=1 -- sh -c \'echo "$0" && exit 1\' "a b" c\\ d "\\"e\\$"',
    "run --timeout 10m --idle-timeout=30 --grace 2.5 --stop-signal SIGINT sleep 5",
    "--timeout none --timeout-policy 'deadline at=2090-01-31T12:00:00Z' --stop-strategy kill sleep 5",
    "-e A=1 --env B='x y' --env=C= -w /tmp --umask 027 --nice 5 --rlimit nofile=64:128 --ulimit core=unlimited true",
    "--log-max 1m --log-keep oldest --on-bound drop --on-full wait --no-private-tmp true",
    "--shell 'echo hello | wc -c'",
    "--shell echo hello there",
    "-i cat -A",
    "--no-network --write /tmp --write /var -- touch /tmp/x",
    "--stop-strategy command --stop-option 'argv=[\"true\"]' -- sleep 1",
    "x '' y",
]
WRONG = {
    "jw run": "no command",
    "--nothing x": "--nothing",
    "-x true": "-x",
    "--name": "--name",
    "--rm true": "--rm",
    "-e HOME true": "no environment",
    "echo 'a": "quote",
    "-l x true": "expected K=V",
    "--nice much true": "whole number",
    "--shell=yes true": "takes no value",
}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def agent(start_agent: Callable[..., RunningAgent]) -> AsyncIterator[RunningAgent]:
    yield start_agent()


async def test_run_from_the_form(page: Page, agent: RunningAgent) -> None:
    """The job runs with what the form has, and its view opens; what the agent refuses is shown beside the form."""
    await log_in(page, agent)
    await page.get_by_role("link", name="Run a job").click()
    await page.get_by_label("Command").fill("sh -c 'echo $GREETING; exit 4'")
    await page.get_by_label("Name").fill("from the form")
    await page.get_by_label("Labels").fill("app=web")
    await page.get_by_label("Folder").fill("not/absolute")
    await page.get_by_label("Environment").fill("GREETING=hello = you\n")
    run = page.get_by_role("button", name="Run", exact=True)
    await run.click()
    await expect(page.get_by_role("alert")).to_contain_text("cwd")
    await page.get_by_label("Folder").fill("/")
    await run.click()
    await expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    await expect(page.locator(".title .badge")).to_have_text("exited 4")
    await expect(page.get_by_role("region", name="Log", exact=True)).to_contain_text("hello = you")
    await page.get_by_role("link", name="Run again…").click()
    await expect(page.get_by_label("Environment")).to_have_value("GREETING=hello = you")
    await page.get_by_label("Start it at once").uncheck()
    await run.click()
    await expect(page.locator(".title .badge")).to_have_text("created")
    async with agent.client() as client:
        first, second = (await client.call("job.list", limit=2))["jobs"]
    assert first["id"] != second["id"]
    assert first["spec"] == second["spec"]


@pytest.mark.slow
async def test_a_line_makes_the_spec_that_jw_makes(page: Page, agent: RunningAgent) -> None:
    """Each line, filled in and run by the page, gives the spec of `jw create` with the same words."""
    await log_in(page, agent)
    async with agent.client() as client:
        for line in LINES:
            await page.goto(f"{agent.url}/#/run")
            await page.get_by_label("A line as jw run takes it").fill(line)
            await page.keyboard.press("Enter")
            await page.get_by_label("Start it at once").uncheck()
            await page.get_by_role("button", name="Run", exact=True).click()
            await expect(page.locator(".title .badge"), line).to_have_text("created")
            made = await client.call("job.status", id=page.url.rpartition("/")[2])
            words = await page.evaluate(
                "async (line) => (await import('./app/words.js')).split(line)", line.removeprefix("jw ")
            )
            words = words[1:] if words[0] == "run" else words
            done = agent.jw("create", "--json", *words)
            assert done.returncode == 0, (line, done.stderr)
            expected = json.loads(done.stdout)["spec"]
            if not expected.get("stop"):
                expected.pop("stop", None)
            if "cwd" not in made["spec"]:  # jw takes its own folder with a local agent, which a page has not
                expected.pop("cwd", None)
            assert made["spec"] == expected, line


async def test_a_line_that_is_wrong(page: Page, agent: RunningAgent) -> None:
    """The message names what is wrong, and nothing is filled in."""
    await log_in(page, agent)
    await page.get_by_role("link", name="Run a job").click()
    for line, message in WRONG.items():
        await page.get_by_label("A line as jw run takes it").fill(line)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert"), line).to_contain_text(message)
        await expect(page.get_by_label("Command")).to_have_value("")
