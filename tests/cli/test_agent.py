"""`jw agent`, `jw token`, `jw cert`: the agent of this host, from nothing to nothing."""

import json
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.client.local import agent_pid
from jobworker.paths import Home

if TYPE_CHECKING:
    from tests.cli.conftest import Jw
    from tests.conftest import RunningAgent


def agents_on(home: Home) -> list[int]:
    """Return the pids of all agents on a state folder, whether or not they hold its lock."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"jobworker" in words[2:4] and str(home.path).encode() in words:
            found.append(int(folder.name))
    return found


def test_two_first_calls_start_one_agent(lone_jw: "Jw", home: Home) -> None:
    """The second call uses the agent that the first has started; only the first prints that."""
    calls = [lone_jw.start("ps") for _ in range(2)]
    assert [call.end() for call in calls] == [0, 0]
    said = b"".join(call.said["stderr"] for call in calls).decode()
    assert said == f"jw: started the local agent (pid {agent_pid(home)}, state in {home.path})\n"
    assert agents_on(home) == [agent_pid(home)]


def test_only_what_needs_an_agent_starts_one(lone_jw: "Jw", home: Home) -> None:
    assert lone_jw("version").returncode == 0
    info = lone_jw("agent", "info")
    assert (info.returncode, info.stderr) == (
        6,
        f"jw: error: no agent runs on {home.path}\nhint: jw agent start\n",
    )
    stopped = lone_jw("agent", "stop")
    assert (stopped.returncode, stopped.stderr) == (0, f"jw: no agent runs on {home.path}\n")
    assert agent_pid(home) is None


def test_jobs_outlive_a_stop_and_a_restart_of_the_agent(lone_jw: "Jw", home: Home) -> None:
    """The same process runs on, and the agent that is started next knows it; a follower misses no byte."""
    job = lone_jw.out(
        "run", "-d", "sh", "-c", "echo begun; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"
    )
    pid = json.loads(lone_jw.out("status", "--json", job))["pid"]
    following = lone_jw.start("logs", "-f", job)
    following.wait_for(b"begun\n")
    stopped = lone_jw("agent", "stop")
    assert stopped.returncode == 0
    assert "the agent has ended; 1 job runs on without it" in stopped.stderr
    following.wait_for(b"connection lost; trying again\n", "stderr")
    assert agent_pid(home) is None, "somebody ended it: no follower starts it again"
    os.kill(pid, 0)
    restarted = lone_jw("agent", "restart")
    assert restarted.returncode == 0
    assert f"no agent ran on {home.path}" in restarted.stderr
    assert lone_jw.out("agent", "restart").startswith("wss://127.0.0.1:")
    assert json.loads(lone_jw.out("status", "--json", job))["pid"] == pid
    assert lone_jw.out("stop", job) == f"{job}  stopped 3"
    assert following.end() == 0
    assert following.said["stdout"] == b"begun\nbye\n"


def test_a_run_outlives_a_crash_of_the_agent(lone_jw: "Jw", home: Home) -> None:
    """kill -9 of the agent costs one line on stderr; the agent is started again."""
    running = lone_jw.start(
        "run", "sh", "-c", "echo begun; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"
    )
    running.wait_for(b"begun\n")
    pid = agent_pid(home)
    assert pid
    os.kill(pid, 9)
    running.wait_for(b"connected again\n", "stderr")
    running.interrupt()
    assert running.end() == 3
    assert running.said["stdout"] == b"begun\nbye\n"


def test_two_homes_are_two_agents(jw: "Jw", shared: "RunningAgent", home: Home, lone_jw: "Jw") -> None:
    """The agent of one home does not know the jobs of the other."""
    job = jw.out("create", "true")
    other = {"JOBWORKER_HOME": str(home.path)}
    done = lone_jw("status", job, **other)
    assert done.returncode == 3
    assert agent_pid(home) != agent_pid(shared.home)
    assert jw.out("status", "-q", job) == job
    os.environ["JOBWORKER_HOME"] = str(home.path)  # undone by the fixture


def test_agent_commands_are_for_the_local_agent(jw: "Jw", shared: "RunningAgent") -> None:
    """A remote agent is not ended by a word meant for this host."""
    for command in ("start", "stop"):
        done = jw("agent", command, JW_ADDRESS=shared.address)
        assert done.returncode == 2
        assert "is for the local agent, and JW_ADDRESS is set" in done.stderr
    for command in ("run", "start", "stop"):
        done = jw("--address", shared.address, "agent", command)
        assert (done.returncode, "is for the local agent" in done.stderr) == (2, True)
    assert agent_pid(shared.home) == shared.pid


def test_agent_info_shows_the_agent(jw: "Jw", shared: "RunningAgent") -> None:
    said = jw.out("agent", "info")
    assert re.search(rf"^pid: +{shared.pid}$", said, re.MULTILINE)
    assert "token, roles, graceful, ladder, command, input, kill, total" in said
    described = json.loads(jw.out("agent", "info", "--json"))
    assert described["pid"] == shared.pid
    health = described["health"]
    assert (health["state"], health["connections"] >= 1) == (str(shared.home.path), True)
    assert health["started"] < health["time"]
    assert health["disk"]["used"] < health["disk"]["limit"]
    token = jw.out("token", "create", "looks", "--role", "reader", "--expires-in", "1h").strip()
    reader = {"JW_ADDRESS": shared.address, "JW_TOKEN": token, "JW_CA": str(shared.ca)}
    assert "health" not in json.loads(jw("agent", "info", "--json", **reader).stdout)
    jw.out("token", "revoke", "looks")


def test_a_token_opens_what_its_roles_allow(jw: "Jw", shared: "RunningAgent") -> None:
    """Flag before environment before local agent; exit code 4 without permission, 6 without a connection."""
    token = jw.out("token", "create", "eve", "--role", "reader", "--expires-in", "1h")
    assert token.startswith("jw1_")
    listed = jw("token", "list")
    assert "eve" in listed.stdout
    assert token not in listed.stdout + listed.stderr
    remote = {"JW_ADDRESS": shared.address, "JW_TOKEN": token, "JW_CA": str(shared.ca)}
    assert jw("ps", **remote).returncode == 0
    refused = jw("run", "true", **remote)
    assert refused.returncode == 125
    create = jw("create", "true", **remote)
    assert (create.returncode, create.stdout) == (4, "")
    assert create.stderr.endswith("hint: jw rpc auth.whoami\n")
    assert jw("--token", "jw1_wrong", "ps", **remote).returncode == 4
    assert jw("ps", **remote | {"JW_TOKEN": "jw1_wrong"}).returncode == 4
    assert jw("--token", shared.token, "create", "true", **remote).returncode == 0
    untrusted = jw("ps", **remote | {"JW_CA": ""})
    assert untrusted.returncode == 6
    assert "hint: give its CA with --ca or JW_CA" in untrusted.stderr
    assert jw("--ca", str(shared.ca), "ps", **remote | {"JW_CA": ""}).returncode == 0
    assert jw("token", "revoke", "eve").returncode == 0
    assert jw("ps", **remote).returncode == 4
    assert jw("token", "revoke", "eve").returncode == 1
    assert jw("token", "create", "eve").returncode == 2


def test_no_secret_is_shown(jw: "Jw", shared: "RunningAgent") -> None:
    """Neither with --json nor in an error."""
    for command in (["agent", "info", "--json"], ["token", "list", "--json"], ["rpc", "job.nope"], ["ps", "--nope"]):
        done = jw(*command, JW_TOKEN=shared.token, JW_DEBUG="1")
        assert shared.token not in done.stdout + done.stderr
    done = jw("--address", "wss://127.0.0.1:1/rpc", "--token", shared.token, "ps", JW_DEBUG="1")
    assert done.returncode == 6
    assert shared.token not in done.stdout + done.stderr


@pytest.mark.parametrize("address", ["ws://localhost:7443/rpc", "https://localhost", "localhost:7443"])
def test_nothing_but_tls(jw: "Jw", address: str) -> None:
    for done in (jw("--address", address, "ps"), jw("ps", JW_ADDRESS=address)):
        assert done.returncode == 2
        assert "expected wss://HOST:PORT/rpc" in done.stderr


def test_cert_init_makes_what_an_agent_needs(jw: "Jw", tmp_path: Path) -> None:
    """Files that only their owner reads; a CA that others trust is not replaced by accident."""
    out = tmp_path / "tls"
    done = jw("cert", "init", "--out", str(out), "--name", "agent.example.org", "--name", "192.0.2.1")
    assert done.returncode == 0
    files = [Path(line) for line in done.stdout.splitlines()]
    assert [file.name for file in files] == ["ca.pem", "ca.key", "server.pem", "server.key"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    before = files[0].read_bytes()
    again = jw("cert", "init", "--out", str(out))
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert files[0].read_bytes() == before
    assert jw("cert", "init", "--force", "--out", str(out)).returncode == 0
    assert files[0].read_bytes() != before


def test_a_new_ca_of_the_local_agent_is_used_at_once(lone_jw: "Jw") -> None:
    lone_jw.out("agent", "start")
    assert lone_jw("cert", "init", "--force").returncode == 0
    assert lone_jw("ps").returncode == 0


def test_the_agent_in_the_foreground(lone_jw: "Jw", home: Home, tmp_path: Path) -> None:
    """It serves until Ctrl-C, and takes its jobs with it; the others use it as the local agent.

    The environment may name another one, for the commands of its user.
    """
    config = tmp_path / "test.toml"
    config.write_text("[server]\nport = 0\n")
    other = {"JW_ADDRESS": "wss://ci.example:7443/rpc", "JW_TOKEN": "jw1_other"}
    agent = lone_jw.start("agent", "run", "--config", str(config), **other)
    agent.wait_for(rb"listening on wss://", "stderr")
    running = lone_jw.start("run", "sh", "-c", "echo begun; sleep 60")
    running.wait_for(b"begun\n")
    assert agent_pid(home) == agent.process.pid
    again = lone_jw("agent", "run", "--config", str(config))
    assert again.returncode == 1
    assert "another agent runs" in again.stderr
    agent.interrupt()
    assert running.end() == 143
    assert b"ended because the agent was shut down" in running.said["stderr"]
    assert agent.end() == 0
    agent.process.wait()
