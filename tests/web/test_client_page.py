"""The page of docs/how-to/browser-client.md in Chromium, served from another origin than the agent."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from docs import javascript_client
from playwright.async_api import Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import Problems

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "browser-client.md"
TIMEOUT = DEADLINE * 1000  # of expect, in ms
LOG_IN_AGAIN = """async ([url, ticket]) => {
  const { connect } = await import("./jobworker/jobworker.js");
  const first = await connect(url, { ticket });
  const { secret } = first;
  first.close();
  const again = await connect(url, { session: secret });
  return [first.caller.name, again.caller.name, await connect(url, { ticket }).catch((error) => error.code)];
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The origin of a server of the page and of a copy of the client."""
    shutil.copytree(javascript_client.FOLDER, tmp_path / "jobworker")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


async def test_the_page_runs_a_job(
    page: Page, problems: Problems, site: str, tmp_path: Path, start_agent: Callable[..., RunningAgent]
) -> None:
    """From an origin that the agent lists; a restart of the agent in between costs no line. A ticket logs in too."""
    agent = start_agent(config=f'[server]\norigins = ["{site}"]\n')
    (example,) = re.findall(r"(?ms)^```html\n(.*?)^```", PAGE.read_text())
    assert len(example.splitlines()) < 40
    (tmp_path / "index.html").write_text(example.replace("https://ci.example.org:7443", agent.url))
    await page.goto(f"{site}/")
    await page.get_by_label("Token").fill("wrong")
    run = page.get_by_role("button", name="Run")
    await run.click()
    await expect(page.get_by_role("status")).to_contain_text("no provider knows", timeout=TIMEOUT)
    await page.get_by_label("Token").fill(agent.token)
    ready = tmp_path / "ready"
    await page.get_by_label("Command").fill(f"echo one; until [ -e {ready} ]; do sleep 0.05; done; echo two; exit 3")
    await run.click()
    await expect(page.locator("pre")).to_have_text("one\n", timeout=TIMEOUT)
    agent.kill()
    await expect(page.get_by_role("status")).to_have_text("reconnecting", timeout=TIMEOUT)
    agent.start()
    ready.touch()
    await expect(page.get_by_role("status")).to_have_text("ended: 3", timeout=TIMEOUT)
    await expect(page.locator("pre")).to_have_text("one\ntwo\n", timeout=TIMEOUT)
    async with agent.client() as client:
        ticket = await client.call("auth.ticket", origin=site)
    assert await page.evaluate(LOG_IN_AGAIN, [agent.url, ticket["ticket"]]) == ["local", "local", 40101]
    (words,) = re.findall(r"`jw (token create page [^`]*)`", PAGE.read_text())
    token = agent.jw(*words.split()).stdout.strip()
    async with agent.client(token) as client:
        caller = await client.call("auth.whoami")
        assert (caller["roles"], caller["expires_at"] is not None) == (["reader"], True)
    problems.forgive("WebSocket connection to|favicon|404")
