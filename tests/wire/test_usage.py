"""What a job has used is in its exit, what it uses now in job.stats; each value with how it was counted."""

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.wire.test_limits import need

if TYPE_CHECKING:
    from tests.conftest import RunningAgent
    from tests.support.wire import Wire

MIB = 1 << 20
PYTHON = [sys.executable, "-I", "-S", "-c"]
BUSY = "import time\nwhile time.process_time() < 0.3: pass"
FIELDS = ("cpu_seconds", "cpu_user", "cpu_system", "memory_peak", "pids_peak", "io_read_bytes", "io_write_bytes")


@pytest.fixture
async def can(wire: "Wire") -> list[str]:
    found: list[str] = (await wire.ask("agent.info"))["capabilities"]["limits"]
    return found


async def used(wire: "Wire", **spec: Any) -> dict[str, Any]:
    """Return `exit.usage` of a job that ends by itself."""
    job = await wire.run(**spec)
    usage: dict[str, Any] = (await wire.ask("job.wait", id=job["id"]))["exit"]["usage"]
    assert set(usage) == {*FIELDS, "source"}
    return usage


async def test_cpu_time_of_an_ended_job(wire: "Wire") -> None:
    usage = await used(wire, argv=[*PYTHON, BUSY])
    assert 0.3 <= usage["cpu_seconds"] < 10
    assert abs(usage["cpu_user"] + usage["cpu_system"] - usage["cpu_seconds"]) < 0.01


async def test_cpu_time_of_children(wire: "Wire") -> None:
    """What a child of the main process has used counts."""
    code = f"import os\nif os.fork() == 0:\n exec({BUSY!r})\nelse: os.wait()"
    assert (await used(wire, argv=[*PYTHON, code]))["cpu_seconds"] >= 0.3


async def test_memory_of_an_ended_job(wire: "Wire") -> None:
    """The peak, not what it had last, with or without a group that counts it."""
    code = "x = bytearray(80 << 20); x = None"
    usage = await used(wire, argv=[*PYTHON, code])
    assert 80 * MIB < usage["memory_peak"] < 200 * MIB


async def test_memory_of_the_whole_job(wire: "Wire", can: list[str]) -> None:
    """A group counts all processes together; rusage, the largest of them."""
    need(can, "memory")
    code = "import os\nx = b'x' * (50 << 20)\nif os.fork() == 0: x = b'y' * (50 << 20)\nelse: os.wait()"
    usage = await used(wire, argv=[*PYTHON, code], limits={"memory": "1GiB"})
    assert usage["source"]["memory"].startswith("cgroup")
    assert usage["memory_peak"] > 100 * MIB


async def test_tasks_of_an_ended_job(wire: "Wire", can: list[str]) -> None:
    need(can, "pids")
    usage = await used(wire, shell="sleep 0.1 & sleep 0.1 & sleep 0.1 & wait", limits={"pids": 50})
    if usage["pids_peak"] is None:
        pytest.skip("this kernel keeps no pids.peak")
    assert 4 <= usage["pids_peak"] <= 6
    assert usage["source"]["pids"].startswith("cgroup")


async def test_bytes_written(wire: "Wire", tmp_path: Any) -> None:
    usage = await used(wire, shell=f"dd if=/dev/zero of={tmp_path}/file bs=1M count=8 conv=fsync 2>/dev/null")
    if usage["io_write_bytes"] < 8 * MIB:
        pytest.skip(f"{tmp_path} is on no disk")
    assert usage["io_write_bytes"] < 64 * MIB


async def test_what_is_not_counted_is_null(wire: "Wire") -> None:
    """A value and its source are there together, or neither is."""
    usage = await used(wire, argv=["true"])
    firsts = {"cpu": "cpu_seconds", "memory": "memory_peak", "pids": "pids_peak", "io": "io_read_bytes"}
    for kind, name in firsts.items():
        assert (usage[name] is not None) == (kind in usage["source"]), usage


async def test_of_a_job_that_did_not_start(wire: "Wire") -> None:
    job = await wire.create(argv=["/no/such"])
    await wire.refused("job.start", id=job)
    assert (await wire.ask("job.status", id=job))["exit"]["usage"] is None
    stats = await wire.ask("job.stats", id=job)
    assert (stats["state"], stats["cpu_seconds"], stats["memory"], stats["source"]) == ("exited", None, None, {})


async def test_the_peak_at_the_limit(wire: "Wire", can: list[str]) -> None:
    """The reason of an end for want of memory has the limit and the peak."""
    need(can, "memory")
    job = await wire.run(argv=[*PYTHON, "x = bytearray(300 << 20)"], limits={"memory": "64MiB"})
    exit_ = (await wire.ask("job.wait", id=job["id"]))["exit"]
    assert exit_["reason"] == "oom"
    assert "at the limit of 64MiB (peak 6" in exit_["message"]
    assert exit_["usage"]["memory_peak"] <= 64 * MIB


HOLD = "import os, sys, time; x = bytearray(60 << 20); print('ready', flush=True); time.sleep(1000)"


async def holding(wire: "Wire", code: str = HOLD, **spec: Any) -> str:
    """Start a job that holds 60 MiB and return its id when it does."""
    run = await wire.ask("job.run", spec={"argv": [*PYTHON, code]} | spec)
    while b"ready" not in wire.logs[run["subscription"]].stdout if run["subscription"] in wire.logs else True:
        await wire.hear()
    return str(run["job"]["id"])


@pytest.mark.parametrize("namespace", [False, True])
@pytest.mark.parametrize("limits", [{}, {"memory": "1GiB", "pids": 20}], ids=["free", "limited"])
async def test_live(wire: "Wire", can: list[str], limits: dict[str, Any], namespace: bool) -> None:
    """What it uses now, by its groups or by a look at its processes."""
    need(can, *limits)
    job = await holding(wire, limits=limits, pid_namespace=namespace)
    stats = await wire.ask("job.stats", id=job)
    assert (stats["id"], stats["state"], stats["limits"], "processes" in stats) == (job, "running", limits, False)
    assert 55 * MIB < stats["memory"] < 200 * MIB
    assert stats["pids"] == 1
    assert stats["cpu_seconds"] >= 0
    assert {"cpu", "memory", "pids"} <= stats["source"].keys()
    await wire.ask("job.delete", id=job, force=True)


async def test_processes(wire: "Wire") -> None:
    """Those of the tree, with the most CPU time first, and no other."""
    code = "import os, time\nif os.fork() == 0:\n exec(BUSY)\n print('ready', flush=True)\ntime.sleep(1000)"
    job = await holding(wire, f"BUSY = {BUSY!r}\n{code}")
    stats = await wire.ask("job.stats", id=job, processes=True)
    busy, idle = stats["processes"]
    assert idle["pid"] == (await wire.ask("job.status", id=job))["pid"]
    assert set(busy) == {"pid", "name", "command", "cpu_seconds", "memory", "threads"}
    assert busy["cpu_seconds"] > idle["cpu_seconds"]
    assert sys.executable in busy["command"]
    assert stats["pids"] == 2
    await wire.ask("job.delete", id=job, force=True)


async def test_stats_of_a_job_that_is_over(wire: "Wire") -> None:
    """What it had used in the end, and no process; of one that never ran, nothing."""
    job = await wire.run(argv=[*PYTHON, BUSY])
    usage = (await wire.ask("job.wait", id=job["id"]))["exit"]["usage"]
    stats = await wire.ask("job.stats", id=job["id"], processes=True)
    assert {name: stats[name] for name in usage} == usage
    assert (stats["memory"], stats["pids"], stats["processes"]) == (None, None, [])
    created = await wire.ask("job.stats", id=await wire.create(argv=["true"]))
    assert (created["state"], created["cpu_seconds"]) == ("created", None)


async def test_stats_of_what_a_main_process_left(wire: "Wire") -> None:
    """Processes that may live on are counted while they do."""
    job = (await wire.run(shell="sleep 1000 & echo", leftovers="leave"))["id"]
    await wire.ask("job.wait", id=job)
    stats = await wire.ask("job.stats", id=job, processes=True)
    assert (stats["state"], len(stats["processes"])) == ("exited", 1)
    assert stats["processes"][0]["name"] in ("sleep", "sh")  # before its execve
    await wire.ask("job.delete", id=job, force=True)


async def test_without_cgroups(start_agent: Any, dial: Any) -> None:
    """rusage in the end, and meanwhile what the processes of a sweep use."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to hide the cgroups")
    hide = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup2,cgroup; exec "$@"', "sh"]
    agent: RunningAgent = start_agent(under=hide)
    async with dial(agent) as wire:
        usage = await used(wire, argv=[*PYTHON, f"x = bytearray(80 << 20)\n{BUSY}"])
        assert usage["source"] == {"cpu": "rusage", "memory": "rusage", "io": "rusage"}
        assert usage["cpu_seconds"] >= 0.3
        assert 80 * MIB < usage["memory_peak"] < 200 * MIB
        job = await holding(wire)
        stats = await wire.ask("job.stats", id=job, processes=True)
        assert stats["source"] == {"cpu": "proc", "memory": "proc", "pids": "proc", "io": "proc"}
        assert (55 * MIB < stats["memory"] < 200 * MIB, stats["pids"], len(stats["processes"])) == (True, 1, 1)


async def replace_keeper(wire: "Wire", keeper: int) -> None:
    """Kill the keeper and return when another has taken its place."""
    os.kill(keeper, signal.SIGKILL)
    async with asyncio.timeout(wire.deadline):
        while (await wire.ask("agent.info"))["keeper"]["pid"] in (keeper, None):  # noqa: ASYNC110  # no event for it
            await asyncio.sleep(0.05)


async def test_of_a_job_whose_keeper_died(start_agent: Any, dial: Any) -> None:
    """The next keeper is not its parent: what its groups counted is there, of the rest nothing is made up."""
    agent: RunningAgent = start_agent()
    async with dial(agent) as wire:
        job = await holding(wire)
        keeper = (await wire.ask("agent.info"))["keeper"]["pid"]
        await replace_keeper(wire, keeper)
        await wire.ask("job.stop", id=job)
        exit_ = (await wire.ask("job.wait", id=job))["exit"]
        assert exit_["signal"] == "SIGTERM"
        assert "rusage" not in exit_["usage"]["source"].values()
        assert (exit_["usage"]["cpu_seconds"] is None) == ("cpu" not in exit_["usage"]["source"])
