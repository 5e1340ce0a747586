"""The keeper's cgroups: claimed after a trial, done without if they fail, and named exactly in errors."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from tests.support.keeper_copy import copy_keeper

from jobworker.host import keeper_process
from jobworker.host.journal import Ended, Started, StartFailed
from jobworker.host.sweep import SweepTree
from jobworker.linux import cgroupfs, features

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

T = TypeVar("T")
Eventually = Callable[[Callable[[], T | None]], T]
ESCAPE = (
    "trap '' TERM; setsid sleep 1000 & (setsid sh -c 'nohup sleep 1000 >/dev/null 2>&1 &') & echo up; exec sleep 1000"
)


@pytest.fixture
def group(host: "Host") -> Path:
    if not host.group:
        pytest.skip(f"jobs get no cgroup here: {host.link.hello['no_cgroup']}")
    return Path(host.group)


def without(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    """Have the next keeper be one on a kernel that lacks a feature."""
    monkeypatch.setenv(features.WITHOUT, feature)
    monkeypatch.setattr(features, "_missing", frozenset([feature]))


async def test_without_a_cgroup_if_need_be(host: "Host", group: Path) -> None:
    """A job whose cgroup cannot be made, although that worked in the trial, starts and is found by a sweep."""
    job = f"a{os.getpid()}"  # of no test beside this one: a sweep looks at all processes of the host
    (group / "cgroup.max.descendants").write_text("0")
    started = await host.shell(job, "echo on; exec sleep 1000")
    assert started.group == ""
    assert await host.lines(job) == ["on"]
    swept = await SweepTree(job, started.pid).members()
    pids = [[process.pid, process.start] for process in swept]
    answer = await host.ask("signal", id=job, target="all", signal=signal.SIGKILL, pids=pids)
    assert answer["delivered"] == 1
    assert (await host.until(Ended, job)).signal == signal.SIGKILL


async def test_a_group_of_all_jobs_that_was_removed(host: "Host", group: Path) -> None:
    """It is made again, and the next job is in it."""
    group.rmdir()
    started = await host.shell("a1", "exec sleep 1000")
    assert started.group == f"{group}/a1"
    assert cgroupfs.pids_in(started.group) == [started.pid]


async def test_a_failed_set_up_names_file_value_and_reason(host: "Host") -> None:
    """The error has the step, the file and the value that was written."""
    if "pids" not in host.link.hello["limits"]:
        pytest.skip("this host cannot limit the number of processes")
    await host.launch("a1", "/bin/true", limits={"pids": 1 << 40})
    failed = await host.until(StartFailed, "a1")
    assert failed.step == "setup"
    assert failed.detail.startswith(f"write {1 << 40} to /")
    assert "/a1/pids.max: " in failed.detail


async def test_what_a_predecessor_left_is_removed(
    host: "Host", group: Path, eventually: Eventually[bool], second_host: "Host"
) -> None:
    """Thousands of empty groups are gone some time after the start of the next keeper; those of running jobs stay."""
    await host.shell("a1", "exec sleep 1000")
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    for number in range(10_000):
        (group / f"dead{number}").mkdir()
    await host.connect()
    assert host.group == str(group)
    assert eventually(lambda: True if [path.name for path in group.iterdir() if path.is_dir()] == ["a1"] else None)
    assert (await host.finish("a2", "exit 3")).code == 3


async def test_a_death_while_they_are_removed(
    host: "Host", group: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that removes them holds no socket that the agent could connect to in place of a keeper's."""
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    (group / "dead").mkdir()
    line = "            for group in stale:\n"
    hanging = copy_keeper(
        tmp_path / "hanging", {"keeper/cgroups.py": (line, f"            time.sleep(1000)\n{line}")}
    )
    with monkeypatch.context() as patch:
        patch.setattr(keeper_process, "KEEPER", hanging)
        await host.connect()
    removing = host.pid
    host.link.close()  # the agent dies with it, which would remove its socket
    os.kill(removing, signal.SIGKILL)
    host.gone(removing)
    await host.connect()
    assert host.pid != removing
    assert (await host.finish("a1", "exit 3")).code == 3


async def test_a_trial_that_fails(cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not end its process is not claimed: cgroups that lie are done without, and the reason is known."""
    lie = ('    if features.has("cgroup.kill")', '    return\n    if features.has("cgroup.kill")')
    monkeypatch.setattr(keeper_process, "KEEPER", copy_keeper(tmp_path / "lying", {"linux/cgroupfs.py": lie}))
    await cold_host.connect()
    if cold_host.link.hello["no_cgroup"].startswith("no cgroup"):
        pytest.skip("there are no cgroups here")
    assert cold_host.group == ""
    assert "did not end the process" in cold_host.link.hello["no_cgroup"]
    assert (await cold_host.finish("a1", "exit 3")).code == 3


async def test_a_trial_without_clone3(cold_host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the trial stays in the group that it was forked in, however late the keeper looks."""
    without(monkeypatch, "clone_into_cgroup")
    line = "    pidfd = os.pidfd_open(child)\n"
    late = copy_keeper(tmp_path / "late", {"keeper/trial.py": (line, f"{line}    time.sleep(0.5)\n")})
    monkeypatch.setattr(keeper_process, "KEEPER", late)
    await cold_host.connect()
    if cold_host.link.hello["no_cgroup"].startswith("no cgroup"):
        pytest.skip("there are no cgroups here")
    assert cold_host.link.hello["no_cgroup"] == ""
    assert cold_host.group


@pytest.fixture(params=["cgroup.kill", "nothing"])
async def older(request: pytest.FixtureRequest, cold_host: "Host", monkeypatch: pytest.MonkeyPatch) -> "Host":
    """A host whose kernel has no cgroup.kill, and one that has."""
    without(monkeypatch, request.param)
    await cold_host.connect()
    if not cold_host.group:
        pytest.skip("jobs get no cgroup here")
    return cold_host


async def test_a_tree_ends_without_cgroup_kill(older: "Host") -> None:
    """All of it, setsid and nohup and double forks included, and none of it forks its way out."""
    started = await older.shell("a1", ESCAPE)
    await older.lines("a1")
    bomb = await older.shell("a2", "while :; do (sleep 0.01 &) ; done")
    for job, pid in (("a1", started.pid), ("a2", bomb.pid)):
        await older.signal_all(job, pid, signal.SIGKILL)
        await older.until(Ended, job)
        end = time.monotonic() + older.deadline
        while members := await older.tree(job, pid).members():
            assert time.monotonic() < end, f"{members} live on"
            await older.signal_all(job, pid, signal.SIGKILL)


async def test_started_names_the_group(host: "Host", group: Path) -> None:
    """A reader of the journal finds the job's cgroup there."""
    await host.shell("a1", "exec sleep 1000")
    assert host.of(Started, "a1")[0].group == str(group / "a1")
