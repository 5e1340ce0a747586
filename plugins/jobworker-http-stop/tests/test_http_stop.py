"""Test `http` against the contract of stop strategies, with a server, and with an agent."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import jobworker_http_stop
import pytest

from jobworker.interfaces import StopOptions
from jobworker.testing import FakeJob, StopStrategyContract, load

URL = "http://127.0.0.1:1/drain"  # no server listens at this port


class TestContract(StopStrategyContract):
    strategy = load(jobworker_http_stop).stop_strategies["http"]
    accepted = ({"url": URL}, {"url": "http://localhost/x?y=1", "method": "GET", "timeout": 1, "wait": "1h"})
    refused = (
        {},
        {"url": 5},
        {"url": "https://127.0.0.1/drain"},
        {"url": "http://169.254.169.254/latest/meta-data"},
        {"url": "http://127.0.0.1.example/"},
        {"url": "http://user:secret@127.0.0.1/"},
        {"url": "http://127.0.0.1:0/x y"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": "file:///etc/passwd"},
        {"url": "http://127.0.0.1/\u00e9"},
        {"url": URL, "method": "BREW"},
        {"url": URL, "wait": 0},
        {"url": URL, "timeout": "soon"},
    )
    quick: ClassVar = {"url": URL, "timeout": 1, "wait": 0.1}


class Server(HTTPServer):
    status = 200
    job: FakeJob | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.called = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.server.called.set()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def stop(server: Server, job: FakeJob) -> None:
    async def work() -> None:
        options = {"url": f"http://127.0.0.1:{server.server_port}/drain?now=1", "wait": 0.2}
        stopping = asyncio.create_task(TestContract.strategy.stop(job, StopOptions("SIGTERM", 0.1, options)))
        await asyncio.to_thread(server.called.wait, 5)
        if job.ends_on == ():
            job.end()
        await stopping

    asyncio.run(work())


def test_a_job_that_drains_gets_no_signal(server: Server) -> None:
    job = FakeJob(ends_on=())
    stop(server, job)
    assert server.requests == ["POST /drain?now=1"]
    assert job.asks == [f"POST http://127.0.0.1:{server.server_port}/drain?now=1"]
    assert job.signals == []


@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_a_job_that_does_not_drain_gets_a_signal(server: Server, status: int) -> None:
    server.status = status
    job = FakeJob()
    stop(server, job)
    assert job.signals == [("SIGTERM", "all")]
    assert len(server.requests) == 1


JOB = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(202)
        self.end_headers()
        print("drained", flush=True)
        self.server.done = True
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.done = False
open(sys.argv[1], "w").write(str(server.server_port))
while not server.done:
    server.handle_request()
sys.exit(0)
"""


def test_with_an_agent(jobworker_agent, tmp_path: Path) -> None:
    """A server that drains ends by itself, with its own exit code and without a signal."""
    agent = jobworker_agent(plugins=["http-stop"])
    script = tmp_path / "server.py"
    script.write_text(JOB)
    port = tmp_path / "port"
    job = agent.jw("run", "-d", "--name", "web", "--", "python3", str(script), str(port)).stdout.strip()
    while not port.exists() or not port.read_text():
        assert agent.jw("status", job).stdout.find("running") > 0
    option = f"url=http://127.0.0.1:{port.read_text()}/drain"
    assert agent.jw("stop", "--strategy", "http", "--option", option, job).returncode == 0
    ended = json.loads(agent.jw("status", "--json", job).stdout)["exit"]
    assert (ended["code"], ended["signal"], ended["reason"]) == (0, None, "stopped")
    assert [step["action"] for step in ended["receipt"]["steps"]] == ["asked"]
    assert agent.jw("logs", job).stdout == "drained\n"
