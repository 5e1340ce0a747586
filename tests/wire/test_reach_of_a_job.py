"""What a job of another user attempts against agent, keeper, pump and other users' jobs: all of it is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.reach import ATTEMPTS

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""  # which every user can execute
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.skipif(not PYTHON, reason="there is no Python here for everyone"),
]
SECRET = "echo secret; exec sleep 600"
REFUSED = {"EPERM", "EACCES"}
HIDDEN = {"ESRCH", "ENOENT"}  # in a pid namespace it sees none but its own processes


async def answers(
    wire: "Wire", agent: "RunningAgent", job: dict[str, Any], runs: "Wire", **spec: Any
) -> dict[str, str]:
    """Return the answers, by attempt, that a job of `runs` with this spec gets; `job` is another one, which writes.

    `wire` is that of an admin.
    """
    info = await wire.ask("agent.info")
    stranger = await wire.run(argv=["sleep", "600"], user="root")
    await wire.until(await wire.subscribe(job["id"]), b"secret\n")  # there is a log of it
    pids = {"agent": info["pid"], "keeper": info["keeper"]["pid"], "pump": info["keeper"]["pump"]}
    pids |= {"job": job["pid"], "stranger": stranger["pid"]}
    given = {
        "state": str(agent.home.path),
        "run": str(agent.home.run_folder()),
        "job": job["id"],
        "groups": {name: group for name, pid in pids.items() if (group := cgroup_of(pid))},
        "pids": pids,
    }
    argv = [PYTHON, "-c", ATTEMPTS, json.dumps(given)]
    run = await runs.ask("job.run", spec={"argv": argv, "cwd": "/", **spec})
    log = await runs.follow(run["subscription"])
    *lines, last = log.stdout.decode().splitlines()
    assert last == "done", log.text
    await wire.ask("job.stop", id=stranger["id"])  # it runs
    assert (await wire.ask("agent.info"))["keeper"] == info["keeper"]
    return dict(line.split("\t") for line in lines)


def cgroup_of(pid: int) -> str:
    """Return the folder of a process's cgroup v2; "" if there is none but the root."""
    path = next((line[3:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line[:3] == "0::"), "")
    mounts = (line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines())
    mount = next((place for place, kind in mounts if kind == "cgroup2"), "")
    return f"{mount}{path}" if mount and path and Path(f"{mount}{path}/cgroup.kill").exists() else ""


@pytest.mark.parametrize("pid_namespace", [False, True], ids=["plain", "namespace"])
async def test_all_is_refused(wire: "Wire", shared: "RunningAgent", pid_namespace: bool) -> None:
    """State, keys, sockets, logs, cgroups, processes and privileges; also from a user namespace of its own."""
    job = await wire.run(shell=SECRET, user="daemon")
    found = await answers(wire, shared, job, wire, user="nobody", pid_namespace=pid_namespace)
    await wire.ask("job.stop", id=job["id"])  # it runs
    expected = REFUSED | (HIDDEN if pid_namespace else set())
    assert {attempt: answer for attempt, answer in found.items() if answer not in expected} == {}
    outside = [attempt for attempt in found if not attempt.startswith("in a user namespace")]
    assert len(outside) > 200, outside
    for kind in (
        "SIGKILL",
        "ptrace",
        "mem",
        "environ",
        "limits",
        "pidfd_getfd",
        "connect",
        "state",
        "cgroup",
        "root",
    ):
        assert [attempt for attempt in outside if kind in attempt], kind


async def test_the_attempts_are_real(wire: "Wire", shared: "RunningAgent") -> None:
    """Against a job of the same user, they succeed: jobs of one user are not protected from each other."""
    job = await wire.run(shell=SECRET, user="daemon")
    found = await answers(wire, shared, job, wire, user="daemon")
    theirs = {attempt for attempt, answer in found.items() if answer == "SUCCEEDED"}
    assert theirs >= {
        f"{attempt} job"
        for attempt in ("read environ of", "open mem of", "list descriptors of", "set limits of", "SIGKILL to")
    }, found
    assert {attempt for attempt in theirs if " job" not in attempt} == {"become daemon"}
