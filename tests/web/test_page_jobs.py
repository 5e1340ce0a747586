"""The list of jobs in the page: live, filtered by the address, and a page at a time."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import log_in

MARKUP = "<img src=x onerror=alert(1)>&amp;"
BIDI = "a\u202egnp.exe\u2066 \u200b\x9b\ue000\U000e0001\xa0b"


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


async def test_the_list_is_live(page: Page, start_agent: Callable[..., RunningAgent]) -> None:
    """A job comes, starts, ends and goes without a reload; each change is in its row, and the filter holds."""
    agent = start_agent()
    await log_in(page, agent)
    await expect(page.locator("main").get_by_text("No jobs yet.")).to_be_visible()
    async with agent.client() as client:
        spec = {"shell": "exit 3", "name": "first", "labels": {"app": "web"}}
        job = (await client.call("job.create", spec=spec))["id"]
        await expect(row(page, "first")).to_contain_text("created")
        await expect(row(page, "first")).to_contain_text("exit 3")
        await expect(row(page, "first")).to_contain_text("app=web")
        await client.call("job.create", spec={"argv": ["true"], "name": "second"})
        await expect(page.get_by_role("row")).to_have_count(3)
        await client.call("job.start", id=job)
        await expect(row(page, "first")).to_contain_text("exited 3")
        notices = page.get_by_role("region", name="Notices")
        await expect(notices.get_by_role("link")).to_have_text("first: exited 3")
        names = [await each.inner_text() for each in await page.locator("td.name a").all()]
        assert names == ["second", "first"]

        await page.get_by_label("State", exact=True).select_option("created")
        await expect(page.get_by_role("row")).to_have_count(2)
        assert page.url.endswith("#/jobs?state=created")
        await page.get_by_label("State", exact=True).select_option("")
        await page.get_by_label("Labels").fill("app=web")
        await page.keyboard.press("Enter")
        await expect(row(page, "second")).to_be_hidden()
        await expect(row(page, "first")).to_be_visible()
        assert page.url.endswith("#/jobs?label=app=web")
        await client.call("job.create", spec={"argv": ["true"], "name": "third", "labels": {"app": "web"}})
        await expect(row(page, "third")).to_be_visible()
        await client.call("job.delete", id=job)
        await expect(row(page, "first")).to_be_hidden()
        await page.goto(f"{agent.url}/#/jobs?name=SEC")
        await expect(row(page, "second")).to_be_visible()
        await expect(page.get_by_role("row")).to_have_count(2)
        await page.go_back()
        await expect(row(page, "third")).to_be_visible()


async def test_what_is_markup_or_changes_direction_is_text(
    page: Page, start_agent: Callable[..., RunningAgent]
) -> None:
    """Names, labels, commands, errors: shown as characters, those that cannot be seen escaped as by `jw`."""
    agent = start_agent()
    async with agent.client() as client:
        spec = {"argv": ["sh", "-c", 'echo "$0"; echo "$0" >&2; exit 1', MARKUP + BIDI], "name": MARKUP}
        job = await client.call("job.create", spec={**spec, "labels": {"app": MARKUP}})
        await client.call("job.start", id=job["id"])
        await client.call("job.wait", id=job["id"])
    shown = "a\\u202egnp.exe\\u2066 \\u200b\\x9b\\ue000\\U000e0001\\xa0b"
    await log_in(page, agent)
    await expect(row(page, MARKUP)).to_contain_text(f"app={MARKUP}")
    await expect(row(page, MARKUP)).to_contain_text(MARKUP + shown)
    await row(page, MARKUP).get_by_role("link").click()
    await expect(page.get_by_role("heading", name=MARKUP)).to_be_visible()
    story = page.get_by_role("region", name="What happened")
    await expect(story.get_by_text("last lines of stderr")).to_be_visible()
    outside = page.get_by_text("gnp.exe").and_(page.locator(":not(.log-view *)"))  # the log has a rule of its own
    assert await outside.count() >= 2
    for text in await outside.all_inner_texts():
        assert shown in text
        assert not set(text) & (set(BIDI) - set(shown))
    await page.goto(f"{agent.url}/#/jobs/{'%3Cb%3E%E2%80%AE'}")
    await expect(page.get_by_role("alert")).to_contain_text("<b>")
    assert "\u202e" not in await page.locator("body").inner_text()


@pytest.mark.slow
async def test_twenty_thousand_jobs(page: Page, start_agent: Callable[..., RunningAgent]) -> None:
    """The document has one page of them; older ones, and a name among all, are a click and a word away."""
    agent = start_agent(
        config="[retention]\njobs = 30000\n[limits]\ncreated_per_principal = 30000\nrequests_per_second = 0\n"
    )
    async with agent.client() as client:
        for _ in range(200):
            spec = {"argv": ["true"], "labels": {"app": "web"}}
            await asyncio.gather(*(client.call("job.create", spec=spec) for _ in range(100)))
        needle: dict[str, Any] = {"argv": ["true"], "name": "needle"}
    await log_in(page, agent)
    await expect(page.get_by_role("row")).to_have_count(51)
    await expect(page.locator("main").get_by_text("The newest 50 jobs")).to_be_visible()
    first = await page.locator("tr[data-job]").first.get_attribute("data-job")
    assert first is not None
    await page.get_by_role("link", name="Older").click()
    await expect(page.locator(f"tr[data-job='{first}']")).to_have_count(0)
    await expect(page.get_by_role("row")).to_have_count(51)
    await page.get_by_role("link", name="Newest").click()
    await expect(page.locator(f"tr[data-job='{first}']")).to_be_visible()
    assert await page.evaluate("() => document.querySelectorAll('*').length") < 1500

    await page.get_by_label("Name", exact=True).fill("needle")
    await page.keyboard.press("Enter")
    await expect(page.locator("main").get_by_text("No job matches.")).to_be_visible(timeout=DEADLINE * 1000)
    async with agent.client() as client:  # while all are on record, new ones still come live
        await client.call("job.create", spec=needle)
    await expect(row(page, "needle")).to_be_visible()
    await page.get_by_label("Name", exact=True).fill("")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("row")).to_have_count(51)
    async with agent.client() as client:
        for _ in range(10):  # a flood of them
            await asyncio.gather(*(client.call("job.create", spec={"argv": ["true"]}) for _ in range(100)))
        last = (await client.call("job.list", limit=1))["jobs"][0]["id"]
    await expect(page.locator("tr[data-job]").first).to_have_attribute("data-job", last, timeout=DEADLINE * 1000)
    await expect(page.get_by_role("row")).to_have_count(51)
