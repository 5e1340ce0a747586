"""A job in a pid namespace of its own: its end is exact, and the end of its init is the end of all in it."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.keeper.test_upgrade import newer  # noqa: F401  # a fixture

from jobworker.host.journal import Closed, Ended, Launching, Started, StartFailed
from jobworker.host.process_tree import NamespaceTree, init_process, main_process

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

KILL = int(signal.SIGKILL)
JOB = f"ns{os.getpid()}"  # nobody else's: a sweep finds by it
# A daemon that nothing of the job is left in: neither session, parent, environment nor pipes.
DAEMON = "(env -i setsid sh -c 'sleep 600 & echo $!' 2>/dev/null); "


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def launch(host: "Host", job: str, *argv: str, cwd: str = "/") -> None:
    assert host.link.hello["namespace"], host.link.hello["no_namespace"]
    await host.ask("launch", id=job, argv=list(argv), env=host.env(job), cwd=cwd, namespace=True)


async def shell(host: "Host", job: str, script: str) -> Started:
    await launch(host, job, "/bin/sh", "-c", script, "sh")
    return await host.until(Started, job)


def tree(started: Started) -> NamespaceTree:
    return NamespaceTree(started.init, started.init_start, started.pid, started.start)


@pytest.fixture
def over(each_host: "Host", eventually: Callable[..., bool]) -> Callable[[Started], None]:
    """Return when init and cgroup of an ended job are gone."""

    def over(started: Started) -> None:
        each_host.gone(started.init)
        if each_host.group:
            group = Path(each_host.group, started.id)
            eventually(lambda: not group.exists() or None)

    return over


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("exit 137", 137, None),
        ("kill -9 $$", None, signal.SIGKILL),
        ("kill -USR1 $$", None, signal.SIGUSR1),
    ],
)
async def test_ends_are_exact(
    each_host: "Host", over: Callable[[Started], None], script: str, code: int | None, number: int | None
) -> None:
    """The keeper itself sees the code or the signal; as nothing is left, it ends the namespace at once."""
    started = await shell(each_host, JOB, script)
    ended = await each_host.until(Ended, JOB)
    assert (ended.code, ended.signal, ended.left) == (code, number, False)
    over(started)


async def test_the_processes_in_it(each_host: "Host") -> None:
    """The main process is the keeper's child, leads a session and has a /proc; the init has no descriptor of ours."""
    host = each_host
    started = await shell(host, JOB, "echo $$; kill -STOP $$")
    assert await host.lines(JOB) == ["2"]
    main, init = facts(started.pid), facts(started.init)
    assert main["NSpid"].split() == [str(started.pid), "2"]
    assert init["NSpid"].split() == [str(started.init), "1"]
    assert {main["PPid"], init["PPid"]} == {str(host.pid)}
    assert main["Uid"] == init["Uid"] == facts(os.getpid())["Uid"]
    assert (os.getsid(started.pid), os.getsid(started.init) == started.init) == (started.pid, False)
    assert started.init_start == int(stat(started.init)[19])
    fds = {fd: os.readlink(f"/proc/{started.init}/fd/{fd}") for fd in os.listdir(f"/proc/{started.init}/fd")}
    assert fds == dict.fromkeys("012", "/dev/null")
    assert set(os.listdir(f"/proc/{started.pid}/fd")) == {"0", "1", "2"}
    assert host.of(Launching, JOB)[0].namespace
    assert Path("/proc/self").readlink() == Path(str(os.getpid()))  # ours is still the host's


async def test_it_is_born_in_its_cgroup(host: "Host") -> None:
    if not host.group:
        pytest.skip("there are no cgroups here")
    started = await shell(host, JOB, "exec sleep 600")
    members = Path(host.group, JOB, "cgroup.procs").read_text().split()
    assert {str(started.init), str(started.pid)} == set(members)


async def test_the_end_of_the_init_is_the_end_of_all(each_host: "Host", over: Callable[[Started], None]) -> None:
    """SIGKILL to the tree also ends processes that the agent did not list, and counts as the cause of the end."""
    host = each_host
    started = await shell(host, JOB, "trap '' TERM; " + DAEMON + "exec sleep 600")
    daemon = int((await host.lines(JOB))[0])
    found = await tree(started).members()
    assert started.pid in {process.pid for process in found}
    assert started.init not in {process.pid for process in found}
    daemons = [process.pid for process in found if facts(process.pid)["NSpid"].split()[1] == str(daemon)]
    assert len(daemons) == 1
    main = [[started.pid, started.start]]
    init = [started.init, started.init_start]
    wrong = [started.init, started.init_start + 1]
    term = {"id": JOB, "target": "all", "pids": [], "init": init, "signal": int(signal.SIGTERM)}
    assert (await host.ask("signal", **term))["delivered"] == 0
    if not host.group:
        await host.ask("signal", id=JOB, target="all", signal=KILL, pids=[], init=wrong)
    assert len(await tree(started).members()) == len(found)
    await host.ask("signal", id=JOB, target="all", signal=KILL, pids=main, init=init)
    host.gone(daemons[0])
    async with asyncio.timeout(host.deadline):
        await tree(started).wait_empty()
        await tree(started).wait_init()
    ended = await host.until(Ended, JOB)
    assert (ended.signal, ended.signalled) == (KILL, True)
    over(started)


async def test_what_is_left_behind(each_host: "Host", over: Callable[[Started], None]) -> None:
    """The init adopts orphans and stays as long as they do; then the agent has the keeper end it."""
    host = each_host
    started = await shell(host, JOB, DAEMON + "exit 5")
    ended = await host.until(Ended, JOB)
    assert (ended.code, ended.left) == (5, True)
    (daemon,) = await tree(started).members()
    assert int(stat(daemon.pid)[1]) == started.init
    waiting = asyncio.create_task(tree(started).wait_empty())
    os.kill(daemon.pid, signal.SIGKILL)
    async with asyncio.timeout(host.deadline):
        await waiting
    await host.ask("release", id=JOB, init=[started.init, started.init_start + 1])
    assert stat(started.init)[0] == "S"
    await host.ask("release", id=JOB, init=[started.init, started.init_start])
    over(started)


async def test_zombies_are_reaped(each_host: "Host", eventually: Callable[..., bool]) -> None:
    """A process that ends as a child of the init leaves no zombie."""
    host = each_host
    started = await shell(host, JOB, "(true & true &); (sleep 0 &); echo done; exec sleep 600")
    await host.lines(JOB)
    children = Path(f"/proc/{started.init}/task/{started.init}/children")
    eventually(lambda: not children.read_text() or None)


@pytest.mark.parametrize(
    ("argv", "cwd", "step"), [(["/no/such"], "/", "exec"), (["/bin/true"], "/no/such", "cwd")], ids=["exec", "cwd"]
)
async def test_a_start_that_failed(each_host: "Host", argv: list[str], cwd: str, step: str) -> None:
    """The step and the errno are named, and neither init nor cgroup stay."""
    host = each_host
    await launch(host, JOB, *argv, cwd=cwd)
    failed = await host.until(StartFailed, JOB)
    assert (failed.step, failed.errno) == (step, 2)
    assert Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split() == [str(host.link.hello["pump"])]
    assert not host.group or os.listdir(host.group).count(JOB) == 0
    assert (await shell(host, "a2", "exit 4")).pid
    assert (await host.until(Ended, "a2")).code == 4


async def test_other_jobs_are_not_taken_for_left_behind(sweeping_host: "Host") -> None:
    """The init of one job does not make the keeper think that another left something."""
    host = sweeping_host
    await shell(host, JOB, "exec sleep 600")
    assert not (await host.finish("a2", "exit 0")).left


async def test_an_upgrade(each_host: "Host", newer: Path, over: Callable[[Started], None]) -> None:  # noqa: F811
    """The next version of the keeper knows the inits of the last one."""
    host = each_host
    go = host.control("go")
    started = await shell(host, JOB, f"read _ < {go}; exit 42")
    pid = host.pid
    host.link.close()
    await host.connect()
    assert host.pid == pid
    host.say(go, "\n")
    ended = await host.until(Ended, JOB)
    assert (ended.code, ended.left) == (42, False)
    over(started)


async def test_adopted(each_host: "Host") -> None:
    """A keeper that took it over leaves it to the agent to see what is left."""
    host = each_host
    go = host.control("go")
    started = await shell(host, JOB, f"read _ < {go}; exit 42")
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    init = [started.init, started.init_start]
    answer = await host.ask("adopt", id=JOB, pid=started.pid, start=started.start, ended=False, init=init)
    assert answer["held"]
    host.say(go, "\n")
    host.gone(started.pid)
    os.kill(started.init, 0)
    await host.ask("release", id=JOB, init=init)
    host.gone(started.init)
    await host.until(Closed, JOB)


async def test_the_init_is_distinguished_from_the_main_process(each_host: "Host") -> None:
    """After a launch without a result, init and main process are each recognised."""
    host = each_host
    started = await shell(host, JOB, "sleep 600 & exec sleep 600")
    members = await host.tree(JOB, 0).members()
    init, main = init_process(members), main_process(members)
    assert init is not None
    assert main is not None
    assert (init.pid, init.start) == (started.init, started.init_start)
    assert (main.pid, main.start) == (started.pid, started.start)
    assert init_process([process for process in members if process != init]) is None
