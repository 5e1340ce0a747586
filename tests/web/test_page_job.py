"""The view of one job: what it is, what can be done to it, and what came of that."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from tests.conftest import FOR_OTHERS, RunningAgent
from tests.support.browser import log_in

from jobworker.client import Client
from jobworker.errors import PermissionDenied

OWN_ONLY = '[plugins.roles.own]\nlook = "all"\ncontrol = "own"\ncreate = true\nmethods = ["*"]\n'
NO_STOP = '[plugins.roles.nostop]\nlook = "all"\ncontrol = "all"\nmethods = ["job.list", "job.s*s", "job.[p-r]*"]\n'
READS = '[plugins.roles.reads]\nlook = "all"\nmethods = ["job.*", "log.read", "log.subscribe", "log.unsubscribe"]\n'
TEAM = '[plugins.roles.team]\nlook = "all"\ncontrol = "all"\nmethods = ["*"]\nlabels = { team = "web*" }\n'


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def agent(start_agent: Callable[..., RunningAgent]) -> AsyncIterator[RunningAgent]:
    yield start_agent(config=OWN_ONLY + NO_STOP + READS + TEAM + FOR_OTHERS)


async def run(client: Client, **spec: Any) -> str:
    job = await client.call("job.create", spec=spec)
    await client.call("job.start", id=job["id"])
    return str(job["id"])


async def fact(page: Page, name: str) -> str:
    """Return what stands beside a word in a list of facts."""
    value = page.locator("dt", has_text=name).first.locator("xpath=following-sibling::dd[1]")
    return await value.inner_text()


async def offered(page: Page) -> list[str]:
    group = page.get_by_role("group", name="Actions")
    return [text.strip("… ") for text in await group.locator("button, a").all_inner_texts()]


async def press(page: Page, name: str, verb: str = "") -> None:
    await page.get_by_role("group", name="Actions").get_by_role("button", name=name).click()
    if verb:
        await page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()
        await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_a_job_from_its_start_to_its_deletion(page: Page, agent: RunningAgent) -> None:
    """Each control does what it is called, the state follows it, and the stop shows its receipt."""
    async with agent.client() as client:
        spec = {"shell": "trap 'echo got USR1' USR1; echo begun; while :; do sleep 0.1; done", "name": "whole"}
        job = (await client.call("job.create", spec=spec))["id"]
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{job}")
    state, log = page.locator(".title .badge"), page.get_by_role("region", name="Log", exact=True)
    await expect(state).to_have_text("created")
    assert await offered(page) == ["Start", "Change", "Delete", "Run again"]
    await press(page, "Start")
    await expect(state).to_have_text("running")
    await expect(log).to_contain_text("begun")
    await press(page, "Pause")
    await expect(state).to_have_text("paused")
    assert await offered(page) == ["Resume", "Stop", "Signal", "Change", "Run again"]
    await press(page, "Resume")
    await expect(state).to_have_text("running")
    await expect(page.get_by_role("group", name="Actions").get_by_role("button", name="Pause")).to_be_visible()

    await page.get_by_role("button", name="Signal…").click()
    await page.get_by_label("Signal", exact=True).fill("SIGNONE")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("SIGNONE")
    await page.get_by_label("Signal", exact=True).fill("USR1")
    await page.get_by_label("To", exact=True).select_option("main")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_text("USR1 reached 1 process.")).to_be_visible()
    await expect(log).to_contain_text("got USR1")

    await page.get_by_role("button", name="Change…").click()
    await page.get_by_label("Timeout", exact=True).fill("2h")
    await page.get_by_label("Labels").fill("app=web tier=1")
    await page.get_by_role("dialog").get_by_role("button", name="Change", exact=True).click()
    await expect(page.get_by_role("link", name="tier=1")).to_be_visible()
    assert await fact(page, "Timeout") == "2h"
    await expect(page.get_by_role("region", name="Usage")).to_contain_text("CPU time")

    await press(page, "Stop…", "Stop")
    receipt = page.locator("section", has=page.get_by_role("heading", name="Receipt of the stop"))
    await expect(receipt).to_contain_text("SIGTERM to all")
    await expect(receipt).to_contain_text("graceful")
    await expect(state).to_have_text("stopped SIGTERM")
    assert await fact(page, "Survivors") == "none"
    assert await fact(page, "Why") == "stopped by local: killed by SIGTERM"
    story = page.get_by_role("region", name="What happened")
    for text in ("created by token:local", "paused by local", "SIGTERM to all by local"):
        await expect(story).to_contain_text(text)
    assert await offered(page) == ["Delete", "Run again"]
    await press(page, "Delete…", "Delete")
    await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    await page.goto(f"{agent.url}/#/jobs/{job}")
    await expect(page.get_by_role("alert")).to_contain_text("there is no job")


@pytest.mark.slow
async def test_what_would_be_refused_is_not_offered(page: Page, agent: RunningAgent) -> None:
    """By roles, owners, methods and labels, as the agent decides it; each is tried: what is left out is refused."""
    verbs = {"Stop": "stop", "Pause": "pause", "Signal": "signal", "Change": "update"}
    async with agent.client() as admin:
        jobs = {"admin's": await run(admin, argv=["sleep", "600"], name="admin's", labels={"team": "webby"})}
        tokens = {}
        for role in ("reader", "writer", "operator", "own", "nostop", "team"):
            tokens[role] = (await admin.call("token.create", name=f"a-{role}", roles=[role]))["token"]
        async with agent.client(tokens["own"]) as owner:
            jobs["own's"] = await run(owner, argv=["sleep", "600"], name="own's")
    expected = {
        ("reader", "admin's"): [],
        ("writer", "admin's"): ["Run again"],
        ("operator", "admin's"): ["Stop", "Pause", "Signal", "Change", "Run again"],
        ("own", "admin's"): ["Run again"],
        ("own", "own's"): ["Stop", "Pause", "Signal", "Change", "Run again"],
        ("nostop", "admin's"): ["Pause"],
        ("team", "admin's"): ["Stop", "Pause", "Signal", "Change"],
    }
    for (role, name), controls in expected.items():
        await page.goto("about:blank")  # a page that is loaded anew has forgotten the last login
        await log_in(page, agent, tokens[role])
        await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        runs = page.get_by_role("navigation", name="Main").get_by_role("link", name="Run a job")
        assert await runs.is_visible() == ("Run again" in controls), role
        await page.goto(f"{agent.url}/#/jobs/{jobs[name]}")
        await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        assert await offered(page) == controls, (role, name)
        async with agent.client(tokens[role]) as caller:
            for control in verbs.keys() - set(controls):
                more: dict[str, Any] = {"signal": "HUP"} if control == "Signal" else {}
                more |= {"timeout": 100} if control == "Change" else {}
                with pytest.raises(PermissionDenied):
                    await caller.call(f"job.{verbs[control]}", id=jobs[name], **more)


async def test_a_log_without_search_and_numbers(page: Page, agent: RunningAgent) -> None:
    """A caller that may only read it has no control for what the agent would refuse, and no search of a link runs."""
    async with agent.client() as admin:
        job = await run(admin, shell="echo found", name="plain")
        token = (await admin.call("token.create", name="a-reads", roles=["reads"]))["token"]
        await log_in(page, agent, token)
        await page.goto(f"{agent.url}/#/jobs/{job}?q=found")
        log = page.get_by_role("region", name="Log", exact=True)
        await expect(log).to_contain_text("found")
        await expect(log.get_by_role("button", name="Download")).to_be_visible()
        for control in (log.get_by_role("search"), log.get_by_role("button", name="Numbers")):
            await expect(control).to_be_hidden()
        assert await log.get_by_label("Kind of place").locator("option").all_inner_texts() == ["Byte", "Time"]
        assert await log.locator(".log-number").all_inner_texts() == [""]
        await page.goto("about:blank")
        await log_in(page, agent)
        await page.goto(f"{agent.url}/#/jobs/{job}?q=found")
        await expect(log.get_by_text("1 of 1")).to_be_visible()
        await expect(log.locator(".log-number")).to_have_text("1")


async def test_a_job_that_changes_under_an_open_page(page: Page, agent: RunningAgent) -> None:
    """What others do to it is shown: its waits, its end, its deletion; its usage is read while the page is seen."""
    async with agent.client() as client:
        job = await run(client, shell="sleep 0.2; exit 7", name="others'")
        await log_in(page, agent)
        await page.goto(f"{agent.url}/#/jobs/{job}")
        await expect(page.locator(".title .badge")).to_have_text("exited 7")
        assert await fact(page, "Why") == "exited with code 7"
        await expect(page.get_by_role("region", name="What happened")).to_contain_text("exited with code 7")
        assert await page.title() == "others' · jobworker"
        await client.call("job.delete", id=job)
        await expect(page.get_by_role("heading", name="others' was deleted")).to_be_visible()
        missing = await client.call("job.create", spec={"argv": ["/no/such/program"], "name": "missing"})
        await page.goto(f"{agent.url}/#/jobs/{missing['id']}")
        await press(page, "Start")
        await expect(page.get_by_role("alert")).to_contain_text("cannot execute '/no/such/program'")
        await expect(page.locator(".title .badge")).to_have_text("start failed")


async def test_a_link_into_a_log(page: Page, agent: RunningAgent) -> None:
    """The log opens at the offset and with the search of the address, which follows what is looked at."""
    async with agent.client() as client:
        job = await run(client, shell="seq 100000; echo needle >&2", name="long")
        await client.call("job.wait", id=job)
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{job}?offset=300000")
    log = page.get_by_role("region", name="Log", exact=True)
    await expect(log).to_contain_text("51852")  # the line with that byte
    await page.goto(f"{agent.url}/#/jobs/{job}?q=needle")
    await expect(log).to_contain_text("needle")
    await expect(page).to_have_url(re.compile(r"#/jobs/\w+\?offset=\d+&q=needle$"))


async def test_a_job_with_a_terminal(page: Page, agent: RunningAgent) -> None:
    """Its screen is shown, and typed into once the keyboard was taken."""
    async with agent.client() as client:
        job = await run(client, argv=["cat"], name="tty", tty=True)
    await log_in(page, agent)
    await page.goto(f"{agent.url}/#/jobs/{job}")
    terminal = page.get_by_role("region", name="Terminal")
    await expect(terminal.get_by_role("button", name="Screen as text")).to_be_visible()
    await page.get_by_role("link", name="Jobs", exact=True).click()
    await expect(terminal).to_have_count(0)
