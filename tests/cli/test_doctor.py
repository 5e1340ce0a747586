"""`jw doctor`: what it finds wrong, and what it has to say about what is right."""

import json
import os
import pty
import subprocess
import sys
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import COMMAND
from tests.support.waiting import DEADLINE

from jobworker.client.local import agent_pid
from jobworker.paths import Home
from jobworker_cli.doctor import budgets
from jobworker_cli.doctor.agent import _capabilities, _plugins

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent

Findings = dict[str, dict[str, str]]


def findings(done: "subprocess.CompletedProcess[str]") -> Findings:
    """Return the findings by check, of several the worst; the exit code must be that of the worst of all."""
    answer = json.loads(done.stdout)
    order = ("ok", "note", "wrong")
    found: Findings = {}
    for each in sorted(answer["checks"], key=lambda each: order.index(each["state"])):
        found[each["check"]] = each
    assert answer["wrong"] == sum(each["state"] == "wrong" for each in answer["checks"])
    assert done.returncode == (1 if answer["wrong"] else 0), done
    return found


def patched(statement: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `jw` after a statement of Python."""
    script = f"import time, jobworker; {statement}\nfrom jobworker_cli.app import main; main()"
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)


def test_a_local_agent(jw: "Jw", shared: "RunningAgent") -> None:
    """All that an admin can see, in text and as JSON; nothing of it is invented."""
    found = findings(jw("doctor", "--json"))
    wanted = {"jw", "context", "state folder", "connection", "clock", "agent", "keeper", "cgroup", "capabilities"}
    assert wanted | {"plugins", "disk", "descriptors", "inotify", "retention", "audit"} <= found.keys()
    assert "known" not in found["connection"]
    assert f"pid {shared.pid}" in found["agent"]["text"]
    assert {found[name]["state"] for name in ("connection", "clock", "agent", "keeper", "plugins")} == {"ok"}
    missing = jw.call("agent.info")["capabilities"]["missing"]
    assert {name: found[name]["text"] for name in missing if name != "cgroup"} == {
        name: reason for name, reason in missing.items() if name != "cgroup"
    }
    text = jw("doctor").stdout
    assert f"ok    agent         {found['agent']['text'].partition(',')[0]}" in text
    hinted = [each for each in found.values() if each["hint"]]
    assert all(f"-> {each['hint']}" in text for each in hinted if each["check"] != "inotify")


def test_a_remote_agent_for_a_reader(jw: "Jw", shared: "RunningAgent", tmp_path: Path) -> None:
    """What it may not see is named; what is wrong with its credentials, its clock and its version is found."""
    token = jw.out("token", "create", "patient", "--role", "reader")
    remote = ["--address", shared.address, "--ca", str(shared.ca), "--token", token]
    found = findings(jw(*remote, "doctor", "--json"))
    assert (found["budgets"]["state"], "only admins" in found["budgets"]["text"]) == ("note", True)
    assert "patient (reader)" in found["connection"]["text"]
    assert found["certificate"]["state"] == "ok"
    found = findings(jw("--insecure", *remote, "doctor", "--json"))
    assert (found["context"]["state"], "not verified" in found["context"]["text"]) == ("wrong", True)
    for seconds, direction in ((-300, "ahead of"), (300, "behind")):
        clock = f"real = time.time; time.time = lambda: real() + {seconds}"
        found = findings(patched(clock, *remote, "doctor", "--json"))
        assert (found["clock"]["state"], f"300 s {direction} this" in found["clock"]["text"]) == ("wrong", True)
    found = findings(patched("jobworker.__version__ = '9.9'", *remote, "doctor", "--json"))
    assert (found["agent"]["state"], "this jw is 9.9" in found["agent"]["text"]) == ("note", True)
    jw.out("cert", "init", "--out", str(tmp_path / "ca"), "--name", "localhost")
    jw.out("cert", "issue", "patient", "--ca", str(tmp_path / "ca"), "--out", str(tmp_path / "me"), "--days", "3")
    with_certificate = ["--cert", str(tmp_path / "me" / "patient.pem"), "--key", str(tmp_path / "me" / "patient.key")]
    found = findings(jw(*remote, *with_certificate, "doctor", "--json"))
    assert found["credentials"]["state"] == "wrong"
    assert "valid for 2 more days" in found["credentials"]["text"]
    assert jw("token", "revoke", "patient").returncode == 0


@pytest.mark.parametrize(
    ("words", "check", "text"),
    [
        (["--address", "wss://127.0.0.1:1/rpc"], "connection", "Connection refused"),
        (["-c", "nix"], "context", "expected one of"),
        (["--address", "unix:///nonexistent.sock"], "connection", "No such file"),
    ],
)
def test_what_cannot_be_reached(jw: "Jw", words: list[str], check: str, text: str) -> None:
    found = findings(jw(*words, "doctor", "--json"))
    assert (found[check]["state"], text in found[check]["text"], bool(found[check]["hint"])) == ("wrong", True, True)


def test_without_an_agent(jw: "Jw", home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries out what an agent would start with, and starts none."""
    monkeypatch.setenv("JOBWORKER_HOME", str(home.path))
    found = findings(jw("doctor", "--json"))
    assert (found["agent"]["state"], found["start"]["state"]) == ("note", "ok")
    assert not home.path.exists()
    home.path.mkdir(mode=0o700)
    home.config.write_text("[jobs]\ngrace = 'soon'\n")
    found = findings(jw("doctor", "--json"))
    assert (found["start"]["state"], "jobs.grace: 'soon'" in found["start"]["text"]) == ("wrong", True)
    home.config.unlink()
    home.address.write_text(json.dumps({"unit": ["none-of-ours.service", "system"]}))
    found = findings(jw("doctor", "--json"))
    assert (found["agent"]["state"], "systemctl --system start" in found["agent"]["hint"]) == ("wrong", True)
    home.path.chmod(0o755)
    found = findings(jw("doctor", "--json"))
    assert found["state folder"]["hint"] == f"chmod 700 {home.path}"
    assert agent_pid(home) is None


def test_a_small_disk(jw: "Jw", mounted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Room and inodes are those of the state folder."""
    place = mounted("size=8m,nr_inodes=500,mode=0700")
    monkeypatch.setenv("JOBWORKER_HOME", str(place / "home"))
    found = findings(jw("doctor", "--json"))
    assert (found["disk"]["state"], found["inodes"]["state"]) == ("wrong", "wrong")
    assert "8MiB" in found["disk"]["text"]


def amount(used: int, limit: int | None) -> dict[str, int | None]:
    return {"used": used, "limit": limit}


def test_budgets() -> None:
    """From what is enough to what is not."""
    enough: dict[str, Any] = {"state": "/s", "read_only": False, "disk": amount(1 << 30, 100 << 30)}
    enough |= {"inodes": amount(0, None), "descriptors": amount(10, 1024), "inotify": amount(3, 128)}
    enough |= {"jobs": amount(5, 10), "logs": amount(0, 10 << 30), "audit": amount(0, None)}
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({}, {}),
        ({"read_only": True}, {"disk": "wrong"}),
        ({"disk": amount(100 << 30, 100 << 30)}, {"disk": "wrong", "retention": "note"}),
        ({"disk": amount(99 << 30, (100 << 30) - 1)}, {"disk": "note", "retention": "note"}),
        ({"logs": amount(0, None)}, {"retention": "note"}),
        ({"inodes": amount(9_500, 10_000)}, {"inodes": "wrong"}),
        ({"inodes": amount(95_000, 100_000)}, {"inodes": "note"}),
        ({"descriptors": amount(1000, 1024)}, {"descriptors": "wrong"}),
        ({"descriptors": amount(900, 1024)}, {"descriptors": "note"}),
        ({"inotify": amount(128, 128)}, {"inotify": "wrong"}),
    ]
    for changes, states in cases:
        found = [each for each in budgets.examine(enough | changes) if each.state != "ok"]
        assert {each.check: each.state for each in found} == states, changes
        assert all(each.hint for each in found)


def test_capabilities_and_plugins_that_are_gone() -> None:
    lacking = {
        "stop": "sweep",
        "limits": [],
        "users": "agent",
        "notify": "poll",
        "log": "copy",
        "log_bound": "refuse",
    }
    found = {each.check: each for each in _capabilities(lacking | {"missing": {"cgroup": "not mounted"}})}
    assert {name: found[name].state for name in ("cgroup", "users", "inotify", "log")} == {
        "cgroup": "note",
        "users": "note",
        "inotify": "wrong",
        "log": "note",
    }
    assert "not mounted" in found["cgroup"].text
    plugins = [{"name": "a", "blocked": True}, {"name": "b", "dropped": True}, {"name": "c", "faults": 2}]
    states = [each.state for each in _plugins([*plugins, {"name": "d", "faults": 0}], "jw")]
    assert states == ["wrong", "wrong", "note", "ok"]


def test_a_terminal_that_was_left_raw(jw: "Jw") -> None:
    """It has the settings of `stty sane` afterwards, and shows a cursor."""
    after = []
    for command in ([*COMMAND, "doctor", "--terminal"], ["stty", "sane"]):
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        done = subprocess.run(command, stdin=theirs, stdout=subprocess.PIPE, check=True, timeout=DEADLINE)
        assert done.stdout == b""
        after.append(termios.tcgetattr(theirs))
        if "doctor" in command:
            assert b"\x1b[?25h" in os.read(ours, 1024)
        os.close(ours)
        os.close(theirs)
    assert after[0] == after[1]
    done_without = subprocess.run(
        ["setsid", *COMMAND, "doctor", "--terminal"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done_without.returncode, b"jw has no terminal" in done_without.stderr) == (1, True)
