"""What a job may use: memory, processes and CPUs are bounded for the whole of it, or the spec is refused."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobworker.keeper.limits_v1 import own_folder as v1_folder

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

HOG = "import time; x = bytearray(300 << 20); print(len(x)); time.sleep(60)"
BOMB = "import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.01)"
FILES = {"memory": "memory.limit_in_bytes memory.max", "pids": "pids.max", "cpus": "cpu.cfs_quota_us cpu.max"}


@pytest.fixture
async def can(wire: "Wire") -> list[str]:
    found: list[str] = (await wire.ask("agent.info"))["capabilities"]["limits"]
    return found


def groups(job: str) -> set[Path]:
    """Return the groups of a job under every controller."""
    roots = [v1_folder(name) for name in ("memory", "pids", "cpu")] + ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
    found = (Path(folder) for root in roots if root for folder, _, _ in os.walk(root))  # groups come and go meanwhile
    return {path for path in found if path.name == job and path.parent.name.startswith("jobworker-")}


def value(job: str, kind: str) -> str:
    names = FILES[kind].split()
    return next((path / name).read_text().strip() for path in groups(job) for name in names if (path / name).exists())


def need(can: list[str], *kinds: str) -> None:
    if missing := set(kinds) - set(can):
        pytest.skip(f"this host cannot limit {', '.join(missing)}")


@pytest.mark.parametrize("namespace", [False, True])
async def test_out_of_memory(wire: "Wire", can: list[str], namespace: bool) -> None:
    """The kernel kills a job at its memory limit, and the reason of the end is `oom`."""
    need(can, "memory")
    run = await wire.ask(
        "job.run",
        spec={
            "argv": [sys.executable, "-I", "-S", "-c", HOG],
            "limits": {"memory": "64MiB"},
            "pid_namespace": namespace,
        },
    )
    ended = await wire.ask("job.wait", id=run["job"]["id"])
    how = ended["exit"]
    assert (how["code"], how["signal"], how["reason"], how["by"]) == (None, "SIGKILL", "oom", "kernel")
    assert "64MiB" in how["message"]
    assert (await wire.follow(run["subscription"])).stdout == b""
    told = await wire.ask("job.explain", id=ended["id"])
    assert "at the limit of 64MiB" in told["summary"]
    assert told["chain"][-1]["by"] == "kernel"
    await until_gone(wire, ended["id"])


async def until_gone(wire: "Wire", job: str) -> None:
    for _ in range(1000):
        if not groups(job):
            return
        await wire.ask("agent.ping")
    assert not groups(job)


async def test_enough_memory(wire: "Wire", can: list[str]) -> None:
    """A job within its limit ends as it does without; a kill of its own is not the kernel's."""
    need(can, "memory")
    code = "x = bytearray(20 << 20); import os; os.kill(os.getpid(), 9)"
    job = await wire.run(argv=[sys.executable, "-I", "-S", "-c", code], limits={"memory": 512 << 20})
    ended = await wire.ask("job.wait", id=job["id"])
    assert (ended["exit"]["signal"], ended["exit"]["reason"], ended["exit"]["by"]) == ("SIGKILL", "finished", None)
    assert ended["exit"]["message"].endswith("which jobworker did not send")
    await until_gone(wire, job["id"])


async def test_a_fork_bomb(wire: "Wire", can: list[str]) -> None:
    """It has as many processes as it may, and a stop ends them all."""
    need(can, "pids")
    argv = [sys.executable, "-I", "-S", "-c", BOMB]
    job = await wire.run(argv=argv, limits={"pids": 20}, stop={"strategy": "kill"})
    (group,) = [path for path in groups(job["id"]) if (path / "pids.max").exists()]
    while len((group / "cgroup.procs").read_text().split()) < 20:
        await wire.ask("agent.ping")
    pids = [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    assert len(pids) == 20
    stopped = await wire.ask("job.stop", id=job["id"])
    assert (stopped["exit"]["reason"], stopped["exit"]["receipt"]["survivors"]) == ("stopped", [])
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    await until_gone(wire, job["id"])


@pytest.mark.parametrize("namespace", [False, True])
async def test_values(wire: "Wire", can: list[str], namespace: bool) -> None:
    """The kernel has the values of the spec; keeper and agent are not in the job's groups."""
    need(can, "memory", "pids", "cpus")
    limits = {"memory": "64MiB", "pids": 1, "cpus": 0.5}
    job = await wire.run(argv=["sleep", "1000"], limits=limits, pid_namespace=namespace)
    assert value(job["id"], "memory") == str(64 << 20)
    assert value(job["id"], "pids") == ("2" if namespace else "1")  # and the init of the namespace
    assert value(job["id"], "cpus").split()[0] == "50000"
    for group in groups(job["id"]):
        assert str(job["pid"]) in (group / "cgroup.procs").read_text().split()
        assert len((group / "cgroup.procs").read_text().split()) == (2 if namespace else 1)
    await wire.ask("job.stop", id=job["id"])
    await until_gone(wire, job["id"])


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"memory": 0}, "limits.memory"),
        ({"memory": -1}, "limits.memory"),
        ({"memory": "64Mibs"}, "limits.memory"),
        ({"memory": "-1GiB"}, "limits.memory"),
        ({"memory": "9999999TiB"}, "limits.memory"),
        ({"memory": 1 << 60}, "limits.memory"),
        ({"pids": 0}, "limits.pids"),
        ({"pids": 1 << 30}, "limits.pids"),
        ({"cpus": 0}, "limits.cpus"),
        ({"cpus": -1.5}, "limits.cpus"),
        ({"cpus": 1e9}, "limits.cpus"),
    ],
    ids=str,
)
async def test_values_that_make_no_sense(wire: "Wire", limits: dict[str, Any], field: str) -> None:
    error = await wire.refused("job.create", spec={"shell": ":", "limits": limits})
    assert (error["code"], error["data"]["field"]) == (40001, field)


@pytest.mark.parametrize("limits", [{"memory": 1.5}, {"pids": "many"}, {"cpus": "1"}, {"disk": 1}], ids=str)
async def test_values_of_another_type(wire: "Wire", limits: dict[str, Any]) -> None:
    error = await wire.refused("job.create", spec={"shell": ":", "limits": limits})
    assert error["code"] == -32602
    assert next(iter(limits)) in error["data"]["field"]


async def test_a_start_that_failed(wire: "Wire", can: list[str]) -> None:
    """No group stays of it."""
    need(can, "memory", "pids", "cpus")
    job = await wire.create(argv=["/no/such"], limits={"memory": "64MiB", "pids": 5, "cpus": 1})
    error = await wire.refused("job.start", id=job)
    assert error["data"]["step"] == "exec"
    assert groups(job) == set()


async def test_refused_if_missing(start_agent: "Any", dial: "Any") -> None:
    """If the host gives no controller: 50101 with the field. `agent.info` and the log name why and what to change."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to hide the cgroups")
    hide = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2,cgroup; exec "$@"', "sh"]
    agent: RunningAgent = start_agent(under=hide)
    async with dial(agent) as wire:
        capabilities = (await wire.ask("agent.info"))["capabilities"]
        assert (capabilities["stop"], capabilities["limits"]) == ("sweep", [])
        for name in ("cgroup", "limits.memory", "limits.pids", "limits.cpus", "limits.io"):
            assert capabilities["missing"][name].startswith("no cgroup v2 is mounted")
            assert "mount cgroup2 at /sys/fs/cgroup" in capabilities["missing"][name]
        assert capabilities["missing"]["cgroup"] in agent.home.agent_log.read_text()
        for limits in ({"memory": "64MiB"}, {"pids": 5}, {"cpus": 1}):
            error = await wire.refused("job.create", spec={"shell": ":", "limits": limits})
            assert (error["code"], error["data"]["field"]) == (50101, f"limits.{next(iter(limits))}")
