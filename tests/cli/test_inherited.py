"""What the first caller of `jw` happened to have: nothing of it is left in agent, keeper, pump and jobs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import COMMAND
from tests.support.inherited import CALLER, FACTS, facts_of

from jobworker.client.local import agent_pid
from jobworker.linux import inheritance
from jobworker.linux.proc import capabilities
from jobworker.paths import Home

pytestmark = pytest.mark.usefixtures("lone_jw")
root = pytest.mark.skipif(os.geteuid() != 0, reason="another user cannot raise its priority again")

RAISES = bool(capabilities() >> 24 & 1)  # CAP_SYS_RESOURCE: may raise hard limits
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""  # which every user can execute
DECIDED: dict[str, Any] = {
    "nice": 0,
    "policy": os.SCHED_OTHER,
    "affinity": sorted(os.sched_getaffinity(1)),
    "oom_score_adj": "0",
    "coredump_filter": "00000033",
    "ignored": 0,
    "blocked": 0,
}

everyone = pytest.mark.skipif(not PYTHON, reason="there is no Python here for everyone")


@root
@everyone
def test_niceness_limits_and_signals_of_the_first_caller(home: Home) -> None:
    """They were meant for that one command. Agent, keeper, pump and jobs have the values that the project decided."""
    first = subprocess.run([sys.executable, "-c", CALLER, *COMMAND, "ps"], check=True, capture_output=True)
    assert b"started the local agent" in first.stderr
    agent = agent_pid(home)
    assert agent
    info = json.loads(subprocess.run([*COMMAND, "agent", "info", "--json"], check=True, capture_output=True).stdout)
    keeper = info["keeper"]["pid"]
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    (pump,) = (int(pid) for pid in children if _is_pump(pid))
    for name, pid in (("agent", agent), ("keeper", keeper), ("pump", pump)):
        facts = facts_of(pid)
        handled: dict[str, Any] = {
            "ignored": facts["ignored"],
            "blocked": 0,
        }  # what each process ignores itself is its own affair
        if name != "keeper":  # from which jobs inherit it; the memory of the others has secrets
            handled["coredump_filter"] = "00000000"
        assert {key: facts[key] for key in DECIDED} == DECIDED | handled, name
        if name != "pump":  # which ignores it itself
            assert not facts["ignored"] >> (signal.SIGUSR1 - 1) & 1, name
        for limit, hard in {"FSIZE": 50 << 20, "CPU": 5000, "DATA": 8 << 30, "AS": -1}.items():
            most = -1 if RAISES else hard
            assert facts["limits"][limit] == [most, most], (name, limit)
        assert facts["limits"]["STACK"][0] == inheritance.USUAL_STACK, name
        assert facts["limits"]["CORE"][0] == 0, name
    assert ("RLIMIT_FSIZE stays" in home.agent_log.read_text()) is not RAISES
    assert facts_of(agent)["environ"] == "kept"  # documented; no job gets it
    for options in ([], ["-u", "daemon"], ["--nice", "0"]):
        job = _job(options)
        assert {key: job[key] for key in DECIDED} == DECIDED, options
        assert job["ioprio"] == 0, options
        assert job["personality"] == 0, options
        assert job["timer_slack"] == inheritance.TIMER_SLACK, options
        assert job["thp_disable"] == 0, options
        assert job["umask"] == 0o022, options
        assert job["limits"]["FSIZE"][0] == (-1 if RAISES else 50 << 20), options
        assert job["limits"]["NOFILE"][0] == inheritance.USUAL_FILES, options
        assert job["environ"] == "", options


@root
@everyone
@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="this kernel has no keyrings")
def test_each_job_has_a_session_keyring_of_its_own() -> None:
    """A key in the session keyring of one job, or of the first caller, is not found by another job of any user."""
    first = subprocess.run([sys.executable, "-c", CALLER, *COMMAND, "ps"], check=True, capture_output=True)
    callers = first.stdout.decode().split()[0]
    jobs = [_job(options) for options in ([], [], ["-u", "daemon"], ["-u", "daemon"], ["--pid-namespace"])]
    rings = [job["keyring"] for job in jobs]
    assert all(ring > 0 for ring in rings), rings
    assert len({callers, *map(str, rings)}) == 6, rings
    assert [job["found"] for job in jobs] == ["Required key not available"] * 5
    assert [job["own"] for job in jobs] == ["added and found"] * 5


@root
def test_what_cannot_be_had_back_is_logged(home: Home) -> None:
    """A user without privileges that is nice stays so; the agent starts, and its log has it."""
    code = (
        "import os; from jobworker.linux import inheritance; os.nice(5); "
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "os.setgroups([]); os.setresgid(1, 1, 1); os.setresuid(1, 1, 1); "
        "print(*inheritance.reset(), *inheritance.reset_limits(), sep='\\n'); print(os.nice(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.split(" stays ")[0] for line in lines] == ["the niceness", "RLIMIT_FSIZE", "5"]


def _job(options: list[str]) -> dict[str, Any]:
    command = [*COMMAND, "run", *options, "--", PYTHON, "-c", FACTS]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def _is_pump(pid: str) -> bool:
    return b"/pump/" in Path(f"/proc/{pid}/cmdline").read_bytes()
