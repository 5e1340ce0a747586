"""Who may open the page, frame it and call its agent, in a real browser."""

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Error, Page, expect
from tests.conftest import DEADLINE, RunningAgent
from tests.support.browser import Problems, launch, log_in


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Every path is an empty page, of another origin than the agent."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a page of another origin."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


async def test_a_ticket_logs_in(page: Page, shared: RunningAgent) -> None:
    """As `jw open` does: the page shows its place, the code is gone from the address, and a reload needs no other."""
    async with shared.client() as client:
        ticket = await client.ticket(origin=shared.url)
        job = (await client.call("job.create", spec={"argv": ["true"], "name": "opened-by-ticket"}))["id"]
    await page.goto(f"{ticket.url}#ticket={ticket.ticket}&to=/jobs/{job}")
    await expect(page.get_by_role("heading", name="opened-by-ticket")).to_be_visible()
    assert page.url == f"{shared.url}/#/jobs/{job}"
    assert ticket.ticket not in await page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")


def import_ca(ca: Path, home: Path) -> None:
    """Make a CA known to the browsers of a home folder."""
    certutil = shutil.which("certutil")
    if certutil is None:
        pytest.skip("certutil is not there, which imports a CA: apt-get install libnss3-tools")
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for words in (["-N", "--empty-password"], ["-A", "-n", "jobworker", "-t", "C,,", "-i", str(ca)]):
        subprocess.run([certutil, "-d", f"sql:{store}", *words], check=True, timeout=DEADLINE)


async def test_a_certificate_that_the_browser_does_not_know(
    browser: Browser, shared: RunningAgent, tmp_path: Path
) -> None:
    """It shows a warning in place of the page, until the CA of the agent is imported, as the how-to page has it."""
    page = await browser.new_page()
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        await page.goto(f"{shared.url}/")
    await page.close()
    import_ca(shared.ca, tmp_path)
    trusting = await launch(browser.browser_type, {**os.environ, "HOME": str(tmp_path)})
    page = await trusting.new_page()
    await log_in(page, shared)
    await expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    await trusting.close()


async def test_another_page_cannot_frame_it(
    page: Page, shared: RunningAgent, elsewhere: str, problems: Problems
) -> None:
    problems.forgive("frame-ancestors|X-Frame-Options|Failed to load resource")
    await page.goto(elsewhere)
    async with page.expect_event("framenavigated", lambda frame: frame.url not in ("", "about:blank")) as navigated:
        await page.evaluate(
            """(url) => {
              const frame = document.createElement("iframe");
              frame.src = url;
              document.body.append(frame);
            }""",
            f"{shared.url}/",
        )
    assert (await navigated.value).url == "chrome-error://chromewebdata/"


async def test_another_page_cannot_call_the_agent(
    page: Page, shared: RunningAgent, elsewhere: str, problems: Problems
) -> None:
    """Neither by the RPC, with or without a token, nor read a file or run a script of the page."""
    problems.forgive(".")
    await page.goto(elsewhere)
    outcomes = await page.evaluate(
        """async ([url, token]) => {
          const bearer = "base64url.bearer.jobworker." + btoa(token).replaceAll("+", "-").replaceAll("/", "_")
            .replace(/=+$/, "");
          const dial = (protocols) => new Promise((done) => {
            const socket = new WebSocket(url.replace("https:", "wss:") + "/rpc", protocols);
            socket.onopen = () => done("open");
            socket.onclose = (event) => done(event.code);
          });
          const refused = (promise) => promise.then(() => "loaded", () => "refused");
          const script = (type) => new Promise((done) => {
            const element = document.createElement("script");
            Object.assign(element, { src: url + "/app/main.js", type });
            element.onload = () => done("loaded");
            element.onerror = () => done("refused");
            document.head.append(element);
          });
          return [
            await dial([]), await dial(["jobworker.v1", bearer]), await refused(fetch(url + "/app.css")),
            await refused(fetch(url + "/app.css", { mode: "no-cors" })), await refused(import(url + "/app/main.js")),
            await script("module"), await script("text/javascript"),
          ];
        }""",
        [shared.url, shared.token],
    )
    assert outcomes == [1006, 1006, *["refused"] * 5]
    assert f"the Origin '{elsewhere}' is not allowed" in shared.home.agent_log.read_text()


async def test_its_own_page_can_call_the_agent(page: Page, shared: RunningAgent, problems: Problems) -> None:
    """By each name by which the page can be opened: the test above would see it."""
    problems.forgive("favicon")
    for name in ("127.0.0.1", "localhost"):
        await page.goto(f"https://{name}:{shared.port}/icon.svg")
        outcome = await page.evaluate(
            """() => new Promise((done) => {
              const socket = new WebSocket("wss://" + location.host + "/rpc");
              socket.onopen = () => done("open");
              socket.onclose = (event) => done(event.code);
            })"""
        )
        assert outcome == "open", name
