"""What plugins bring to the page: names and passwords, and texts of which none is taken for markup."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
from playwright.async_api import Page, expect
from tests.conftest import RunningAgent
from tests.support.browser import log_in
from tests.support.plugin_site import install_plugin

from jobworker.config import BUILT_IN

HTPASSWD = Path(__file__).parents[2] / "plugins" / "jobworker-htpasswd" / "jobworker_htpasswd.py"
PASSWORD = "correct horse"
MARKUP = "<img src=x onerror=alert(1)>&amp;"
HOSTILE = f"""
import jobworker
from jobworker.interfaces import AuthProvider, StopOptions
from jobworker.model import Principal

class Markup:
    name = "markup"

    async def authenticate(self, credentials):
        if credentials.username == "eve":
            return Principal({MARKUP!r}, "markup", ["admin"])

    def check(self, options):
        pass

    async def stop(self, job, options):
        await job.asked({MARKUP!r} + "\\u202e\\x9b")
        await job.signal("SIGKILL")

@jobworker.hookimpl
def register_auth_providers():
    return [Markup()]

@jobworker.hookimpl
def register_stop_strategies():
    return [Markup()]
"""


@pytest.fixture(scope="module")
def agent(
    start_agent: Callable[..., RunningAgent], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningAgent]:
    """An agent with the plugin htpasswd, with the name ann, and with one whose texts are markup."""
    folder = tmp_path_factory.mktemp("plugins")
    install_plugin(folder, "htpasswd", HTPASSWD.read_text(), "jobworker_htpasswd")
    install_plugin(folder, "markup", HOSTILE)
    passwords = folder / "passwords"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    passwords.write_text(f"ann:{hashed}\n")
    passwords.chmod(0o600)
    config = '[auth]\nproviders = ["token", "markup", "htpasswd"]\n'
    config += f"[plugins]\nenabled = {[*BUILT_IN, 'htpasswd', 'markup']}\n"
    config += f'[plugins.htpasswd]\nfile = "{passwords}"\nroles = {{ ann = ["reader"] }}\n'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(":"))
        yield start_agent(config=config)


async def give(page: Page, name: str, password: str) -> None:
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.keyboard.press("Enter")


async def test_a_name_and_a_password(page: Page, agent: RunningAgent) -> None:
    """Wrong ones are refused with the reason; right ones log in, are kept by choice only, and go with the log-out."""
    await page.goto(f"{agent.url}/")
    for name, password in (("ann", "wrong"), ("bob", PASSWORD)):
        await give(page, name, password)
        await expect(page.get_by_role("button", name="Log in", exact=True)).to_be_enabled()  # the answer is there
        await expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong.")
        await expect(page.get_by_label("Password", exact=True)).to_be_focused()
    await give(page, "ann", PASSWORD)
    await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    await page.get_by_text("ann", exact=True).click()
    await expect(page.get_by_text("htpasswd:ann (reader)")).to_be_visible()
    await expect(page.get_by_role("link", name="Run a job")).to_be_hidden()
    assert PASSWORD not in await page.evaluate(
        "JSON.stringify([{...sessionStorage}, document.cookie, location.href])"
    )
    await page.get_by_label("Stay logged in while this tab is open").check()
    await page.reload()
    await page.get_by_text("ann", exact=True).click()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_texts_of_a_plugin_are_text(page: Page, agent: RunningAgent) -> None:
    """The name of a caller and what a stop reports: in the header, in the facts, the receipt and the story."""
    await page.goto(f"{agent.url}/")
    await give(page, "eve", "x")
    await expect(page.locator("header").get_by_text(MARKUP, exact=True)).to_be_visible()
    await page.goto(f"{agent.url}/#/run?line=jw+run+--name+hostile+--stop-strategy+markup+--+sleep+600")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.get_by_role("heading", name="hostile")).to_be_visible()
    await page.get_by_role("button", name="Stop…").click()
    await page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    receipt = page.locator("section", has=page.get_by_role("heading", name="Receipt of the stop"))
    await expect(receipt).to_contain_text(f"{MARKUP}\\u202e\\x9b")
    await expect(page.get_by_role("region", name="What happened")).to_contain_text(f"by markup:{MARKUP}")
    await expect(page.locator("dd", has_text=f"markup:{MARKUP}").first).to_be_visible()
    assert await page.locator("img").count() == 0
    assert not {"\u202e", "\x9b"} & set(await page.locator("body").inner_text())


@pytest.mark.slow
async def test_an_expired_token(page: Page, agent: RunningAgent) -> None:
    """An open page is logged out when its token ends, with the reason; the token opens no page any more."""
    async with agent.client() as client:
        made = await client.call("token.create", name="short", roles=["reader"], expires_in="12s")
    await log_in(page, agent, made["token"])
    await expect(page.get_by_text("short", exact=True)).to_be_visible()
    await expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("the credentials expired")
    await log_in(page, agent, made["token"])
    await expect(page.get_by_role("alert")).to_contain_text("the token 'short' expired at")
