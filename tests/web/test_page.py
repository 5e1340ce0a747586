"""The page that the agent serves, in a real browser."""

import asyncio
import contextlib

import pytest
from playwright.async_api import Error, Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import Problems


async def test_the_page_opens(page: Page, shared: RunningAgent) -> None:
    """With a form to log in, and without an error or a violation of its policy."""
    await page.goto(f"{shared.url}/")
    await expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
    assert await page.title() == "Log in · jobworker"


@pytest.mark.parametrize(
    "script",
    [
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://127.0.0.1:1/x.png'}))",
        "document.body.innerHTML = '<b>markup</b>'",
        "document.body.append(Object.assign(document.createElement('style'), {textContent: 'b {}'}))",
        "void fetch('https://127.0.0.1:1/').catch(() => {})",
        "const form = document.createElement('form'); document.body.append(form); form.submit()",
        "console.error('an error')",
        "setTimeout(() => { throw new Error('of a script'); })",
    ],
)
async def test_what_goes_wrong_is_seen(page: Page, shared: RunningAgent, problems: Problems, script: str) -> None:
    """Another origin, markup, styles, forms: the policy refuses them, and a test with one of them would fail."""
    await page.goto(f"{shared.url}/")
    assert not problems.unexpected()
    with contextlib.suppress(Error):  # of trusted types, to the script itself
        await page.evaluate(f"() => {{ {script}; }}")
    async with asyncio.timeout(DEADLINE):
        await problems.seen.wait()
    assert problems.unexpected()
    problems.forgive("")
