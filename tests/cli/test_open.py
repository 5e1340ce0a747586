"""`jw open`: the page of the agent, logged in."""

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import Jw

from jobworker.paths import default_home
from jobworker_cli.browser import page_of

if TYPE_CHECKING:
    from tests.conftest import RunningAgent

WITHOUT = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """The file to which the browser of `jw` writes what it is to open."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    return tmp_path / "opened"


def test_the_address_is_printed(jw: Jw) -> None:
    """With the page of the job; what is not the address is on stderr."""
    job = jw.out("run", "-d", "--name", "opened", "--", "true")
    for words, place in (((), "/jobs"), (("opened",), f"/jobs/{job}")):
        done = jw("open", "--print", *words)
        assert re.fullmatch(rf"https://[\w.]+:\d+/#ticket=jw1t_[\w-]+&to={place}\n", done.stdout), done
        assert "30 seconds" in done.stderr
    assert jw("open", "--print", "no-such-job").returncode == 3


def test_without_a_display_the_address_is_printed(jw: Jw) -> None:
    assert jw("open", **WITHOUT).stdout.startswith("https://")


def test_a_browser_gets_the_address(jw: Jw, opened: Path) -> None:
    """From a file of ours if other users are on the host, who could read it among the arguments."""
    done = jw("open", **WITHOUT | {"BROWSER": f"{opened.parent}/browser"})
    assert done.returncode == 0, done
    assert "ticket=" not in done.stdout + done.stderr
    url = opened.read_text()
    if url.startswith("file://"):
        url = Path(url.removeprefix("file://")).read_text()
    assert "#ticket=jw1t_" in url


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_other_users_see_no_ticket(jw: Jw, opened: Path) -> None:
    """Another user has a process here: the browser is given the path of a file that only we can read."""
    other = subprocess.Popen(["sleep", "60"], user=12345)
    try:
        jw("open", **WITHOUT | {"BROWSER": f"{opened.parent}/browser"})
    finally:
        other.kill()
        other.wait()
    assert opened.read_text() == (default_home() / "open.html").as_uri()
    page = default_home() / "open.html"
    assert page.stat().st_mode & 0o777 == 0o600
    assert re.search(r'url=https://[\w.]+:\d+/#ticket=jw1t_[\w-]+&amp;to=/jobs"', page.read_text())


def test_another_agent(jw: Jw, shared: "RunningAgent") -> None:
    """The page is that of the address by which `jw` reaches the agent, as the ticket is."""
    address = f"wss://localhost:{shared.port}/rpc"
    done = jw("--address", address, "--ca", str(shared.ca), "open", "--print", JW_TOKEN=shared.token)
    assert done.stdout.startswith(f"https://localhost:{shared.port}/#ticket="), done


@pytest.mark.parametrize(
    ("address", "origin", "url"),
    [
        ("wss://Host.example:7443/rpc", "https://host.example:7443", "https://host.example:7443/"),
        ("wss://host.example:443/rpc", "https://host.example", "https://host.example/"),
        ("wss://host.example", "https://host.example", "https://host.example/"),
        ("wss://[2001:db8::1]:7443/rpc", "https://[2001:db8::1]:7443", "https://[2001:db8::1]:7443/"),
        ("wss://ops.example/jobs/rpc", "https://ops.example", "https://ops.example/jobs/"),
    ],
)
def test_the_page_of_an_address(address: str, origin: str, url: str) -> None:
    page = page_of(address)
    assert page is not None
    assert (page.origin, page.url) == (origin, url)
    assert page_of("unix:///run/agent.sock") is None
