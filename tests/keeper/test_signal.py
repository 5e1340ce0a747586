"""Signals to the main process and to the tree, what an end leaves behind, and how trees are found."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.host.journal import Closed, Ended, Started
from jobworker.host.process_tree import CgroupTree, Process
from jobworker.host.sweep import SweepTree, sweep
from jobworker.linux.proc import MARKER

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

NO_PID = 1 << 22 | 1  # above what the kernel gives out
# A grandchild that has left session, group and parent, and like the main process ignores what it can.
ESCAPED = """
(setsid sh -c 'trap "" TERM HUP INT; echo $$; exec sleep 600' &)
trap "" TERM HUP INT
exec sleep 600
"""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


async def test_signal_to_main_spares_the_others(host: "Host") -> None:
    """Deliver a signal to the main process only."""
    started = await host.shell(
        "a1",
        "sh -c 'trap \"echo child\" TERM; echo $$; kill -STOP $$; echo on; kill -STOP $$' &\n"
        "trap 'echo main; exit 7' TERM; echo up >&2; wait; wait",
    )
    child = int((await host.lines("a1"))[0])
    await host.lines("a1", stream=1)
    answer = await host.ask("signal", id="a1", target="main", signal=int(signal.SIGTERM))
    assert answer["delivered"] == 1
    assert (await host.until(Ended, "a1")).code == 7
    host.resume(child)
    assert await host.lines("a1", 3) == [str(child), "main", "on"]
    host.gone(started.pid)


async def test_signal_to_all_reaches_a_session_of_its_own(each_host: "Host") -> None:
    """Deliver a signal to every process of the tree, whatever session it is in."""
    host = each_host
    started = await host.shell(
        "a1",
        "setsid sh -c 'trap \"echo got; exit\" TERM; echo $$; while :; do sleep 600 & wait; done' &\n"
        "trap 'echo main; wait; exit 5' TERM; wait",
    )
    await host.lines("a1")
    assert await host.signal_all("a1", started.pid, signal.SIGTERM) >= 2
    assert (await host.until(Ended, "a1")).code == 5
    await host.log_says("a1", lambda: {b"got", b"main"} <= set(host.output("a1").split()) or None)


async def test_kill_of_all_leaves_no_process(each_host: "Host") -> None:
    """A kill of the tree also ends processes with setsid, a double fork or ignored signals."""
    host = each_host
    started = await host.shell("a1", ESCAPED)
    grandchild = int((await host.lines("a1"))[0])
    tree = host.tree("a1", started.pid)
    assert {started.pid, grandchild} <= {process.pid for process in await tree.members()}
    assert await host.signal_all("a1", started.pid, signal.SIGKILL) >= 2
    host.gone(started.pid)
    host.gone(grandchild)
    async with asyncio.timeout(host.deadline):
        await tree.wait_empty()
    assert await tree.members() == []
    ended = await host.until(Ended, "a1")
    assert (ended.code, ended.signal) == (None, signal.SIGKILL)


async def test_kill_of_all_after_the_main_process_has_ended(each_host: "Host") -> None:
    """Processes that a job left behind are found and killed after its end was reported."""
    host = each_host
    started = await host.shell("a1", "(setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 600' &) & wait; exit 0")
    grandchild = int((await host.lines("a1"))[0])
    ended = await host.until(Ended, "a1")
    assert ended.left
    assert parent_of(grandchild) == host.pid
    assert await host.signal_all("a1", started.pid, signal.SIGKILL) >= 1
    host.gone(grandchild)
    await host.until(Closed, "a1")


async def test_signal_to_what_is_not_there_is_not_delivered(each_host: "Host") -> None:
    """Deliver nothing to a job that has ended, nor to one that never was."""
    host = each_host
    await host.finish("a1", "exit 0")
    for job in ("a1", "never"):
        for target in ("main", "all"):
            answer = await host.ask("signal", id=job, target=target, signal=int(signal.SIGKILL), pids=[])
            assert answer["delivered"] == 0


async def test_wrong_start_time_is_never_signalled(sweeping_host: "Host") -> None:
    """Spare a process whose start is not the one that was found."""
    host = sweeping_host
    started = await host.shell("a1", "echo ready; exec sleep 600")
    await host.lines("a1")
    kill, term = int(signal.SIGKILL), int(signal.SIGTERM)
    for wrong in (started.start + 1, started.start - 1, 0):
        answer = await host.ask("signal", id="a1", target="all", signal=kill, pids=[[started.pid, wrong]])
        assert answer["delivered"] == 0
    answer = await host.ask("signal", id="a1", target="all", signal=term, pids=[[started.pid, started.start]])
    assert answer["delivered"] == 1
    assert (await host.until(Ended, "a1")).signal == term


async def test_pids_do_not_count_beside_a_cgroup(host: "Host", spawned: Callable[..., int]) -> None:
    """With a cgroup, its members get the signal, and the pids in the request are ignored."""
    if not host.group:
        pytest.skip("there are no cgroups here")
    await host.shell("a1", "exec sleep 600")
    stranger = spawned("sleep", "600")
    pids = [[stranger, start_of(stranger)]]
    answer = await host.ask("signal", id="a1", target="all", signal=int(signal.SIGTERM), pids=pids)
    assert answer["delivered"] == 1
    assert (await host.until(Ended, "a1")).signal == signal.SIGTERM
    os.kill(stranger, 0)
    assert Path(f"/proc/{stranger}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("target", ["main", "all"])
async def test_signalled_is_for_our_signal_alone(each_host: "Host", target: str) -> None:
    """The end records whether the keeper's signal reached the main process, or another process ended it."""
    host = each_host
    ours, theirs = await host.shell("a1", "exec sleep 600"), await host.shell("a2", "exec sleep 600")
    if target == "all":
        await host.signal_all("a1", ours.pid, signal.SIGTERM)
    else:
        await host.ask("signal", id="a1", target="main", signal=int(signal.SIGTERM))
    os.kill(theirs.pid, signal.SIGTERM)
    assert (await host.until(Ended, "a1")).signalled
    assert not (await host.until(Ended, "a2")).signalled


async def test_stop_and_continue_of_all(each_host: "Host") -> None:
    """Stop the whole tree and let it go on."""
    host, control = each_host, each_host.control("a1")
    started = await host.shell("a1", 'echo ready; read -r x < "$1"; exit 3', str(control))
    await host.lines("a1")
    await host.signal_all("a1", started.pid, signal.SIGSTOP)
    host.stopped(started.pid)
    host.say(control, "go\n")
    assert not host.of(Ended, "a1")
    await host.signal_all("a1", started.pid, signal.SIGCONT)
    assert (await host.until(Ended, "a1")).code == 3


async def test_left_is_false_without_a_child(each_host: "Host") -> None:
    """`left` is false if all children had ended, whether they were waited for or not."""
    ended_unwaited = "true & while read -r _ _ state _ </proc/$!/stat && [ $state != Z ]; do :; done"
    ended = await each_host.finish("a1", f"(true); {ended_unwaited}; exit 0")
    assert not ended.left
    if each_host.group:
        assert not Path(each_host.group, "a1").exists()


async def test_left_is_true_with_a_grandchild(each_host: "Host") -> None:
    """`left` is true if a grandchild still runs, even one that closed its output."""
    host = each_host
    await host.shell("a1", "setsid sleep 600 >/dev/null 2>&1 & echo $!; exit 0")
    await host.until(Closed, "a1")
    assert (await host.until(Ended, "a1")).left
    os.kill(int(host.output("a1")), 0)


async def test_release_removes_the_cgroup_once_it_is_empty(host: "Host") -> None:
    """Keep the cgroup of a living grandchild and remove that of a dead one, with what it made below."""
    if not host.group:
        pytest.skip("there are no cgroups here")
    started = await host.shell("a1", "sleep 600 >/dev/null 2>&1 & echo $!; exit 0")
    await host.until(Ended, "a1")
    grandchild = int((await host.lines("a1"))[0])
    group = Path(host.group, "a1")
    (group / "inner").mkdir()
    assert (await host.ask("release", id="a1"))["gone"] is False
    assert group.exists()
    os.kill(grandchild, signal.SIGKILL)
    async with asyncio.timeout(host.deadline):
        await host.tree("a1", started.pid).wait_empty()
    assert (await host.ask("release", id="a1"))["gone"] is True
    assert not group.exists()
    assert (await host.ask("release", id="a1"))["gone"] is True


async def test_without_cgroups_nothing_outside_is_touched(sweeping_host: "Host", tmp_path: Path) -> None:
    """Without cgroups for jobs, no folder is removed."""
    folder = tmp_path / "empty"
    folder.mkdir()
    await sweeping_host.ask("release", id=str(folder).lstrip("/"))
    assert folder.exists()


async def test_wait_empty_returns_with_the_last_process(each_host: "Host") -> None:
    """Wait through the end of the main process, and return when the last of the tree goes."""
    host = each_host
    started = await host.shell("a1", "setsid sleep 600 >/dev/null 2>&1 & echo $!; wait")
    grandchild = int((await host.lines("a1"))[0])
    tree = host.tree("a1", started.pid)
    waiting = asyncio.create_task(tree.wait_empty())
    await asyncio.sleep(0)
    os.kill(started.pid, signal.SIGKILL)
    await host.until(Ended, "a1")
    assert [process.pid for process in await tree.members()] == [grandchild]
    assert not waiting.done()
    os.kill(grandchild, signal.SIGKILL)
    async with asyncio.timeout(host.deadline):
        await waiting


async def test_wait_empty_of_what_never_was(host: "Host") -> None:
    """Return at once for a tree that is not there."""
    async with asyncio.timeout(host.deadline):
        await CgroupTree(Path("/no/such/group")).wait_empty()
        await SweepTree("no-such-job", NO_PID).wait_empty()
    assert await CgroupTree(Path("/no/such/group")).members() == []


@pytest.mark.parametrize("age", [0.0, 0.05])  # the kernel holds back news that follow others within 10 ms
async def test_wait_empty_survives_the_removal_of_the_cgroup(
    host: "Host", age: float, spawned: Callable[..., int]
) -> None:
    """Return as from an empty cgroup when the keeper has removed it meanwhile."""
    if not host.group:
        pytest.skip("there are no cgroups here")
    group = Path(host.group, "by-hand")
    group.mkdir()
    pid = spawned("sleep", "600")
    (group / "cgroup.procs").write_text(str(pid))
    waiting = asyncio.create_task(CgroupTree(group).wait_empty())
    await asyncio.sleep(age)
    os.kill(pid, signal.SIGKILL)
    assert host.exit_code(pid) == -signal.SIGKILL
    while group.exists():  # within this turn of the loop, as another process does it
        try:
            group.rmdir()
        except OSError:
            os.sched_yield()
    async with asyncio.timeout(host.deadline):
        await waiting


def descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that lists them
            continue
    return found


async def test_wait_empty_can_be_given_up(each_host: "Host") -> None:
    """Leave no descriptor behind when the wait is cancelled."""
    host = each_host
    started = await host.shell("a1", "exec sleep 600")
    before = descriptors()
    for _ in range(5):
        waiting = asyncio.create_task(host.tree("a1", started.pid).wait_empty())
        async with asyncio.timeout(host.deadline):
            while not any("[pidfd]" in name or "[eventpoll]" in name for name in new(descriptors(), before)):
                assert not waiting.done(), host.of(Ended, "a1")
                await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    assert new(descriptors(), before) == []


def new(after: dict[str, str], before: dict[str, str]) -> list[str]:
    return [name for fd, name in after.items() if before.get(fd) != name]


def swept(job: str, main: int = NO_PID) -> set[int]:
    return {process.pid for process in sweep(job, main)}


def test_sweep_for_a_job_that_was_never_started_is_empty() -> None:
    """A job without a main process has no members: 0 is the parent and session of no job."""
    assert sweep("no-such-job", 0) == []


def test_sweep_finds_by_marker(spawned: Callable[..., int]) -> None:
    """A sweep finds the processes that inherited the whole marker of this job."""
    mine = spawned("sleep", "600", env={MARKER: "tree-a1"}, setsid=True)
    spawned("sleep", "600", env={MARKER: "tree-a10"}, setsid=True)
    spawned("sleep", "600", env={"OTHER": f"{MARKER}=tree-a1"}, setsid=True)
    spawned("sleep", "600", env={f"X{MARKER}": "tree-a1"}, setsid=True)
    found = sweep("tree-a1", NO_PID)
    assert found == [Process(mine, start_of(mine), "sleep")]


def test_sweep_finds_by_session_and_by_descent(spawned: Callable[..., int], eventually: Callable[..., int]) -> None:
    """A sweep finds processes without the marker by their session, and processes outside the session by descent."""
    main = spawned("sh", "-c", "env -i sleep 600 & env -i setsid sleep 601 & wait", setsid=True)

    def both() -> int | None:
        words = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in swept("nobody", main)}
        return len(words) if {b"sleep\x00600\0", b"sleep\x00601\0"} <= words else None

    eventually(both)
    for pid in swept("nobody", main) - {main}:
        os.kill(pid, signal.SIGKILL)


def test_sweep_finds_an_orphan_in_the_session(spawned: Callable[..., int], eventually: Callable[..., int]) -> None:
    """Find by session a child whose parent is dead and whose environment is empty."""
    main = spawned("sh", "-c", "env -i sleep 600 & exit", setsid=True)
    os.waitid(os.P_PID, main, os.WEXITED | os.WNOWAIT)
    eventually(lambda: len(found) if len(found := swept("nobody", main)) == 1 else None)
    (orphan,) = swept("nobody", main)
    assert orphan != main  # a zombie is not alive
    os.kill(orphan, signal.SIGKILL)


def test_sweep_reads_any_name(spawned: Callable[..., int], tmp_path: Path) -> None:
    """Read the start of a process whose name looks like the fields of its stat file."""
    program = tmp_path / "a) S 1 1 (b"
    shutil.copy(shutil.which("sleep") or "", program)
    pid = spawned(str(program), "600", env={MARKER: "tree-b1"})
    assert sweep("tree-b1", NO_PID) == [Process(pid, start_of(pid), "a) S 1 1 (b")]


def test_sweep_never_lists_the_sweeper() -> None:
    """Leave out the agent itself, though it may have been started with the marker."""
    code = "import os; from jobworker.host.sweep import sweep; print(sweep('tree-c1', os.getpid()))"
    env = {MARKER: "tree-c1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The first thread ends, another one lives on: the process looks like a zombie and is none.
HEADLESS = (
    "import ctypes, os, threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
)


def headless(pid: int) -> bool | None:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" or None


def test_sweep_finds_a_process_whose_first_thread_has_ended(
    spawned: Callable[..., int], eventually: Callable[..., bool]
) -> None:
    """Find a process that lives on in another thread."""
    pid = spawned(sys.executable, "-I", "-S", "-c", HEADLESS, env={MARKER: "tree-d1"}, setsid=True)
    eventually(lambda: headless(pid))
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    assert swept("tree-d1", pid) == {pid}


@pytest.mark.parametrize("target", ["main", "all"])
async def test_job_whose_first_thread_has_ended_is_signalled(
    each_host: "Host", target: str, eventually: Callable[..., bool]
) -> None:
    """Deliver a signal to a job that lives on in another thread."""
    host = each_host
    await host.launch("a1", sys.executable, "-I", "-S", "-c", HEADLESS)
    started = await host.until(Started, "a1")
    eventually(lambda: headless(started.pid))
    if target == "all":
        assert await host.signal_all("a1", started.pid, signal.SIGKILL) == 1
    else:
        answer = await host.ask("signal", id="a1", target="main", signal=int(signal.SIGKILL))
        assert answer["delivered"] == 1
    assert (await host.until(Ended, "a1")).signalled


def test_sweep_does_not_take_a_reused_pid_for_the_job() -> None:
    """A process with the pid of an ended job, but another start time, is not the job's."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        start = start_of(stranger.pid)
        try:
            assert {process.pid for process in sweep("no-such-job", stranger.pid, start)} == {stranger.pid}
            assert sweep("no-such-job", stranger.pid, start - 1) == []
        finally:
            stranger.kill()
