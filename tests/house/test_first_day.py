"""The page of a team's first day, from its first command to its last, on an agent of its own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from tests.house.test_examples import matches
from tests.support.plugin_site import install_plugin
from tests.support.waiting import DEADLINE
from tests.torture.webhooks import PLUGIN

from jobworker.paths import Home
from jobworker.testing import RunningAgent

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "first-day.md"
BLOCK = re.compile(
    r"^## (?P<title>[^\n]*)$|^```(?P<language>console|toml)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
INSTALLED = "jw agent install "  # tests/vm has it; here the agent is started without systemd
PIP = "pip --python /opt/jobworker/bin/python install "  # what it installs is on the path already

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="the page is for root"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


class Receiver(BaseHTTPRequestHandler):
    taken: "Queue[dict[str, Any]]" = Queue()

    def do_POST(self) -> None:
        self.taken.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[int]:
    """The port of the server that gets the messages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of what the page installs."""
    folder = tmp_path / "site"
    folder.mkdir()
    install_plugin(folder, "webhook", PLUGIN.read_text(), "jobworker_webhook")
    return folder


async def test_the_first_day(tmp_path: Path, receiver: int, site: Path) -> None:
    """Each command prints what the page shows; the end of Ann's job is posted, and Bob is out at the end."""
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    config = etc / "config.toml"
    config.touch()
    program = ["-m", "jobworker", "--config", str(config)]
    agent = RunningAgent(Home(tmp_path / "home"), local=False, program=program, under=["env", f"PYTHONPATH={site}"])
    places = {
        "sudo ": "",
        "/etc/jobworker": str(etc),
        "/var/backups": str(tmp_path),
        "0.0.0.0": "127.0.0.1",
        "ci.example.org": "localhost",
        "7443": _free_port(),
        "9465": _free_port(),
        "https://chat.example.org": f"http://127.0.0.1:{receiver}",
    }
    shell = Shell(tmp_path, site)
    begun = False
    title = ""
    try:
        for found in BLOCK.finditer(PAGE.read_text()):
            title = found["title"] or title
            text = found["text"] or ""
            for ours, here in places.items():
                text = text.replace(ours, here)
            if found["language"] == "toml":
                with config.open("a") as file:
                    file.write(text)
                continue
            for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                if command.startswith(INSTALLED):
                    agent.start()
                    begun = True
                elif not command.startswith(PIP):
                    shell.run(command, expected, title)
        content = Receiver.taken.get(timeout=DEADLINE)
        assert (content["event"]["event"], content["event"]["job"]["name"]) == ("exited", "nightly")
        assert content["event"]["job"]["owner"] == "token:ann"
        assert "the token is not known here" in shell.output("jw ps", "On Bob's computer")
    finally:
        if begun:
            agent.ca.parent.mkdir(exist_ok=True)
            shutil.copy(etc / "tls" / "ca.pem", agent.ca)  # where the helper expects that of an agent
            await agent.clean()


class Shell:
    """Runs the commands of the page, each as the person whom the heading above it names."""

    def __init__(self, folder: Path, site: Path) -> None:
        self._folder = folder
        self._site = site
        self._status = 0  # the exit code of the command before, for `echo $?`

    def run(self, command: str, expected: str, title: str) -> None:
        said = self.output(command, title)
        assert matches(expected, said), f"{title}: $ {command}\n{said}"

    def output(self, command: str, title: str) -> str:
        """Return what a command prints on another computer, or to root on the host."""
        person = re.match(r"On (\w+)'s computer", title)
        home = self._folder / (person[1] if person else "root")
        home.mkdir(exist_ok=True)
        env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self._site),
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "JOBWORKER_HOME": str(home / "state" if person else self._folder / "home"),
        }
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n(exit {self._status})\n{command}"],
            env=env,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self._status = done.returncode
        return done.stdout


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])
