"""Fixtures for the page in the browser: a real Chromium for the session, and pages in which nothing may go wrong.

All tests and fixtures of this folder share the event loop of the session, which the browser belongs to.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="playwright is not installed: pip install playwright, or make setup")

from playwright.async_api import Browser, Page, async_playwright, expect
from tests.conftest import DEADLINE
from tests.support.browser import CHROMIUM, Problems, launch

FOLDER = Path(__file__).parent
expect.set_options(timeout=DEADLINE * 1000)  # by default 5 s, which a busy machine needs now and then


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER) and inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium, or set JOBWORKER_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await launch(playwright.chromium)
        yield browser
        await browser.close()


@pytest.fixture
def problems() -> Problems:
    """What went wrong in the pages of this test; `problems.forgive(REGEX)` is for what the test expects."""
    return Problems()


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(browser: Browser, problems: Problems) -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """Open pages, each in a profile of its own, with options of `browser.new_context`; nothing may go wrong in them.

    Options are `viewport={"width": 360, "height": 640}`, `color_scheme="dark"`, `reduced_motion="reduce"` and so on.
    """
    contexts = []

    async def open_page(**options: Any) -> Page:
        context = await browser.new_context(ignore_https_errors=True, **options)  # the CA is one of the agent's own
        contexts.append(context)
        await problems.watch(context)
        return await context.new_page()

    yield open_page
    for context in contexts:
        await context.close()
    assert not problems.unexpected()


@pytest_asyncio.fixture(loop_scope="session")
async def page(new_page: Callable[..., Awaitable[Page]]) -> Page:
    """An empty page, in which nothing may go wrong: no error on the console, none of a script, no violated policy."""
    return await new_page()
