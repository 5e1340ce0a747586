"""The page behind nginx and Caddy, with the configuration that its how-to page shows."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from tests.conftest import DEADLINE, RunningAgent

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/web-page.md").read_text()
NGINX = """
daemon off; error_log stderr; pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key;
        {block}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
https://127.0.0.1:{port} {{
    tls {tls}/server.pem {tls}/server.key
    {block}
}}
"""


def block(language: str, agent: RunningAgent) -> str:
    """Return the example of the page, for this agent."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    text = found[1].replace("127.0.0.1:7443", f"127.0.0.1:{agent.port}")
    return re.sub(r"/etc/\w+/jobworker-ca\.pem", str(agent.ca), text)


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, shared: RunningAgent, tmp_path: Path) -> Iterator[int]:
    """The port of a proxy in front of the agent, with the certificate of the agent."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {"folder": tmp_path, "port": port, "tls": shared.home.tls}
    config = tmp_path / "config"
    if request.param == "nginx":
        config.write_text(NGINX.format(block=block("nginx", shared), **values))
        command = [program, "-p", str(tmp_path), "-c", str(config), "-g", "user root;" if os.geteuid() == 0 else ""]
    else:
        config.write_text(CADDY.format(block=block("caddyfile", shared), **values))
        command = [program, "run", "--adapter", "caddyfile", "--config", str(config)]
    env = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    running = subprocess.Popen(command, env=env)
    wait_listening(port, running)
    yield port
    running.terminate()
    running.wait(DEADLINE)


def wait_listening(port: int, running: "subprocess.Popen[bytes]") -> None:
    while running.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            try:
                running.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        return
    raise AssertionError(f"the proxy has ended: {running.returncode}")


def jw(agent: RunningAgent, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobworker_cli", "--ca", str(agent.ca), *words]
    env = os.environ | {"JW_TOKEN": agent.token}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False)


async def test_the_page_behind_a_proxy(proxy: int, page: Page, shared: RunningAgent) -> None:
    """Below a path that the proxy removes: `jw open` finds it, and the page logs in and shows a job."""
    address = f"wss://127.0.0.1:{proxy}/jobs/rpc"
    async with shared.client() as client:
        job = (await client.call("job.create", spec={"argv": ["true"], "name": "behind-a-proxy"}))["id"]
    done = await asyncio.to_thread(jw, shared, "--address", address, "open", "--print", job)
    url = done.stdout.strip()
    assert url.startswith(f"https://127.0.0.1:{proxy}/jobs/#ticket="), done
    await page.goto(url)
    await expect(page.get_by_role("heading", name="behind-a-proxy")).to_be_visible()
    assert page.url == f"https://127.0.0.1:{proxy}/jobs/#/jobs/{job}"
