"""Log in to the page and out of it: nothing of it is kept, unless the user chooses that."""

from collections.abc import Awaitable, Callable

from playwright.async_api import Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.authority import Authority
from tests.support.browser import Problems, log_in

from jobworker.config import BUILT_IN

NewPage = Callable[..., Awaitable[Page]]
KEEP = "Stay logged in while this tab is open"
STORED = "() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href])"


async def is_in(page: Page) -> None:
    await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


async def is_out(page: Page) -> None:
    await expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()


async def test_a_token_is_kept_in_memory_only(page: Page, shared: RunningAgent) -> None:
    """A wrong one is refused with the reason; a good one is nowhere but in memory, so a reload asks again."""
    await log_in(page, shared, "wrong")
    await expect(page.get_by_role("alert")).to_contain_text("no such token")
    await log_in(page, shared)
    await is_in(page)
    assert shared.token not in await page.evaluate(STORED)
    await page.reload()
    await is_out(page)


async def test_a_login_that_is_kept_ends_with_the_log_out(page: Page, shared: RunningAgent) -> None:
    """In the storage of the tab: a reload stays in, and at the same place; a log-out removes it."""
    await page.goto(f"{shared.url}/#/run")
    await page.get_by_label(KEEP).check()
    await page.get_by_label("Token", exact=True).fill(shared.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Run a job")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Run a job")).to_be_visible()
    await page.get_by_text("local", exact=True).click()
    await expect(page.get_by_label(KEEP)).to_be_checked()
    await page.get_by_role("button", name="Log out").click()
    await is_out(page)
    assert shared.token not in await page.evaluate(STORED)
    await page.reload()
    await is_out(page)


async def test_a_ticket(new_page: NewPage, shared: RunningAgent) -> None:
    """It opens the page at the place in its link, once; it is taken out of the address, and nothing of it is kept."""
    async with shared.client() as client:
        job = (await client.call("job.create", spec={"argv": ["true"], "name": "linked"}))["id"]
        made = await client.call("auth.ticket")
    url = f"{made['url']}#ticket={made['ticket']}"
    page = await new_page()
    await page.goto(f"{url}&to=/jobs/{job}")
    await expect(page.get_by_role("heading", name="linked")).to_be_visible()
    assert page.url == f"{shared.url}/#/jobs/{job}"
    assert await page.evaluate("() => history.length") <= 2
    assert await page.evaluate("() => sessionStorage.length + localStorage.length") == 0
    await page.get_by_text("local", exact=True).click()
    await page.get_by_label(KEEP).check()
    stored = await page.evaluate("() => Object.values(sessionStorage)[0]")
    assert shared.token not in stored
    await page.reload()
    await expect(page.get_by_role("heading", name="linked")).to_be_visible()
    await page.get_by_text("local", exact=True).click()
    await page.get_by_role("button", name="Log out").click()
    await is_out(page)
    await page.evaluate("(stored) => sessionStorage.setItem('jobworker /', stored)", stored)
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("the login of this tab has ended")
    other = await new_page()
    await other.goto(url)
    await expect(other.get_by_role("alert")).to_contain_text("this link has expired or was used before")


async def test_a_client_certificate(
    new_page: NewPage, start_agent: Callable[..., RunningAgent], authority: Authority
) -> None:
    """It logs in without a question, with its own rights; after a log-out the page asks. A ticket goes before it."""
    config = f'[server]\nclient_ca = "{authority.ca}"\n[auth]\nproviders = ["mtls", "token"]\n[plugins]\n'
    config += f'enabled = {[*BUILT_IN, "mtls"]}\n[plugins.mtls]\nroles = {{ alice = ["reader"] }}\n'
    agent = start_agent(config=config)
    pair = authority.issue("alice")
    certificate = {"origin": agent.url, "certPath": pair.cert, "keyPath": pair.key}
    page = await new_page(client_certificates=[certificate])
    await page.goto(f"{agent.url}/")
    await is_in(page)
    await expect(page.get_by_role("link", name="Run a job")).to_be_hidden()
    await page.get_by_text("alice", exact=True).click()
    await expect(page.get_by_text("mtls:alice (reader)")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await is_out(page)
    await page.get_by_label("Token", exact=True).fill(agent.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("local", exact=True)).to_be_visible()
    async with agent.client() as client:
        made = await client.call("auth.ticket")
    await page.goto("about:blank")
    await page.goto(f"{made['url']}#ticket={made['ticket']}")
    await expect(page.get_by_text("local", exact=True)).to_be_visible()
    await page.get_by_text("local", exact=True).click()
    await page.get_by_label(KEEP).check()
    await page.reload()
    await expect(page.get_by_text("local", exact=True)).to_be_visible()


async def test_a_token_that_is_revoked(page: Page, shared: RunningAgent) -> None:
    """Its page is logged out at once, and shows why."""
    async with shared.client() as client:
        made = await client.call("token.create", name="short", roles=["reader"])
        await log_in(page, shared, made["token"])
        await is_in(page)
        await client.call("token.revoke", name="short")
    await is_out(page)
    await expect(page.get_by_role("alert")).to_contain_text("the agent closed the connection")


async def test_a_lost_connection(page: Page, start_agent: Callable[..., RunningAgent], problems: Problems) -> None:
    """The page reports it in a line, connects again by itself, and its list is live again."""
    problems.forgive("WebSocket connection to")
    agent = start_agent()
    await log_in(page, agent)
    await is_in(page)
    agent.kill()
    line = page.locator("#line")
    await expect(line).to_have_text("The connection is lost. Reconnecting…")
    agent.start()
    await expect(line).to_have_text("Connected again.", timeout=DEADLINE * 1000)
    async with agent.client() as client:
        await client.call("job.create", spec={"argv": ["true"], "name": "after"})
    await expect(page.get_by_role("link", name="after")).to_be_visible()


async def test_a_page_of_another_version(page: Page, shared: RunningAgent) -> None:
    """An agent that was upgraded under an open page: the page offers a reload, which solves it."""
    await page.goto(f"{shared.url}/")
    await page.evaluate("document.querySelector('meta[name=version]').content = '0.0.1'")
    await page.get_by_label("Token", exact=True).fill(shared.token)
    await page.keyboard.press("Enter")
    await is_in(page)
    await expect(page.get_by_role("alert")).to_contain_text("this page is of 0.0.1")
    await page.get_by_role("button", name="Reload").click()
    await log_in(page, shared)
    await is_in(page)
    await expect(page.get_by_role("button", name="Reload")).to_be_hidden()
