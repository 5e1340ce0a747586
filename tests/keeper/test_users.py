"""Another user, umask, niceness, resource limits: the keeper's fork becomes what is asked, and nothing more."""

import asyncio
import errno
import fcntl
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.keeper_host import start_keeper_under

from jobworker.host.journal import Closed, Ended, Started, StartFailed

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

NOBODY, DAEMON = 65534, 1
USER = {"uid": DAEMON, "gid": DAEMON, "groups": [DAEMON, 33]}
STOPPED = "echo ready; kill -STOP $$"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
each_space = pytest.mark.parametrize("namespace", [False, True], ids=["plain", "namespace"])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of theirs that everybody can get to, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, DAEMON, DAEMON)
        os.chmod(name, 0o755)
        yield Path(name)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@root
@each_space
async def test_a_job_is_its_user_and_nothing_else(each_host: "Host", namespace: bool) -> None:
    """All four ids, the groups; no capability, now or later; nothing open but 0, 1, 2; signals as for others."""
    started = await each_host.shell("us1", STOPPED, user=USER, namespace=namespace)
    await each_host.lines("us1")
    facts = status(started.pid)
    assert facts["Uid"].split() == [str(DAEMON)] * 4
    assert facts["Gid"].split() == [str(DAEMON)] * 4
    assert facts["Groups"].split() == [str(DAEMON), "33"]
    assert [int(facts[name], 16) for name in CAPABILITIES] == [0] * 5
    assert facts["NoNewPrivs"] == "1"
    assert int(facts["SigIgn"], 16) == int(facts["SigBlk"], 16) == 0
    assert facts["Umask"] == "0022"
    assert sorted(os.listdir(f"/proc/{started.pid}/fd")) == ["0", "1", "2"]
    assert os.readlink(f"/proc/{started.pid}/fd/0") == "/dev/null"
    assert (os.getsid(started.pid), os.getpgid(started.pid)) == (started.pid, started.pid)
    assert facts["PPid"] == str(each_host.pid)
    if each_host.group:
        assert str(started.pid) in Path(each_host.group, "us1", "cgroup.procs").read_text().split()
    assert status(each_host.pid)["Uid"] == status(os.getpid())["Uid"]


@root
async def test_root_with_another_group(host: "Host") -> None:
    """Root in a group of its choice keeps what root has."""
    started = await host.shell("us1", STOPPED, user={"uid": 0, "gid": DAEMON, "groups": [DAEMON]})
    facts, own = status(started.pid), status(os.getpid())
    assert (facts["Uid"].split(), facts["Gid"].split()) == (["0"] * 4, [str(DAEMON)] * 4)
    assert (facts["CapEff"], facts["NoNewPrivs"]) == (own["CapPrm"], own["NoNewPrivs"])


@root
@each_space
@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 3", 3, None), ("exit 137", 137, None), ("kill -9 $$", None, 9), ("kill -USR1 $$", None, signal.SIGUSR1)],
)
async def test_ends_are_exact(each_host: "Host", namespace: bool, script: str, code: int, number: int) -> None:
    """Code and signal are recorded as for other jobs."""
    ended = await each_host.finish("us1", script, user=USER, namespace=namespace)
    assert (ended.code, ended.signal, ended.left) == (code, number, False)


@root
@each_space
async def test_the_keeper_may_kill_it(each_host: "Host", namespace: bool) -> None:
    """A signal of ours reaches it and is the cause of its end."""
    await each_host.shell("us1", STOPPED, user=USER, namespace=namespace)
    await each_host.ask("signal", id="us1", target="main", signal=int(signal.SIGKILL), pids=[])
    ended = await each_host.until(Ended, "us1")
    assert (ended.signal, ended.signalled) == (signal.SIGKILL, True)


@root
@each_space
@pytest.mark.parametrize("merge", [False, True], ids=["apart", "merged"])
async def test_the_streams_by_number_and_by_name(each_host: "Host", namespace: bool, merge: bool) -> None:
    """1 and 2 were opened before the change of user; by name they can be written to after it."""
    script = "echo 1; echo 2 >&2; echo 3 > /dev/stdout; echo 4 > /dev/stderr; echo 5"
    ended = await each_host.finish("us1", script, user=USER, merge=merge, namespace=namespace)
    assert ended.code == 0
    out, err = each_host.output("us1", 0), each_host.output("us1", 1)
    assert (out, err) == ((b"1\n2\n3\n4\n5\n", b"") if merge else (b"1\n3\n5\n", b"2\n4\n"))


@root
async def test_a_writer_that_blocks_goes_on(host: "Host") -> None:
    """More than a pipe holds arrives whole."""
    await host.finish("us1", "head -c 300000 /dev/zero", user=USER)
    assert host.output("us1") == bytes(300_000)


@root
@each_space
async def test_a_start_that_failed(each_host: "Host", open_folder: Path, namespace: bool) -> None:
    """The step is named as the job's user meets it, and nothing is left."""
    private = open_folder / "private"
    private.mkdir(0o700)
    program = open_folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    for number, (step, code, argv, cwd, change) in enumerate(
        [
            ("cwd", errno.EACCES, ["true"], str(private), {}),
            ("cwd", errno.ENOENT, ["true"], "/no/such", {}),
            ("exec", errno.EACCES, [str(program)], "/", {}),
            ("exec", errno.ENOENT, ["no-such"], "/", {}),
            ("user", errno.EINVAL, ["true"], "/", {"uid": 2**32 - 1}),
            ("user", errno.EINVAL, ["true"], "/", {"gid": -1}),
            ("setup", errno.EINVAL, ["true", "a\0b"], "/", {}),
        ]
    ):
        job = f"us{number}"
        await each_host.launch(job, *argv, cwd=cwd, user=USER | change, namespace=namespace)
        failed = await each_host.until(StartFailed, job)
        assert (failed.step, failed.errno) == (step, code), argv
        assert not each_host.of(Started, job)
    children = Path(f"/proc/{each_host.pid}/task/{each_host.pid}/children").read_text().split()
    assert children == [str(each_host.link.hello["pump"])]
    assert os.listdir(each_host.run / "fifo") == []
    assert (await each_host.finish("us9", "exit 4", user=USER)).code == 4


@root
async def test_a_user_that_the_kernel_does_not_give(cold_host: "Host") -> None:
    """A keeper whose user namespace knows one user only: step `user` with the errno of the kernel."""
    start_keeper_under(cold_host, ["unshare", "-r"])
    await cold_host.connect()
    await cold_host.launch("us1", "true", user=USER)
    failed = await cold_host.until(StartFailed, "us1")
    assert (failed.step, failed.errno) == ("user", errno.EPERM)
    assert (await cold_host.finish("us2", "exit 4")).code == 4


async def test_a_change_without_another_user(each_host: "Host") -> None:
    """Umask, niceness and limits alone do not need root."""
    wanted: dict[str, Any] = {"umask": 0o027, "nice": 5, "rlimits": {"nofile": [100, 200], "core": [0, 0]}}
    started = await each_host.shell("us1", STOPPED, **wanted)
    await each_host.lines("us1")
    limits = Path(f"/proc/{started.pid}/limits").read_text()
    facts = status(started.pid)
    assert facts["Umask"] == "0027"
    assert os.getpriority(os.PRIO_PROCESS, started.pid) == 5
    assert [line.split()[3:5] for line in limits.splitlines() if "open files" in line] == [["100", "200"]]
    assert facts["Uid"] == status(os.getpid())["Uid"]
    assert facts["NoNewPrivs"] == status(os.getpid())["NoNewPrivs"]
    assert os.getpriority(os.PRIO_PROCESS, each_host.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    plain = await each_host.shell("us2", STOPPED)
    assert status(plain.pid)["Umask"] == "0022"
    assert os.getpriority(os.PRIO_PROCESS, plain.pid) == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.parametrize("change", [{"umask": 0}, {"nice": 0}])
async def test_zero_is_a_value(host: "Host", change: dict[str, Any]) -> None:
    """A umask of 0 is one, not none."""
    started = await host.shell("us1", STOPPED, **change)
    assert status(started.pid)["Umask"] == ("0000" if "umask" in change else "0022")


@root
@each_space
async def test_all_at_once(each_host: "Host", open_folder: Path, namespace: bool) -> None:
    """User, umask, niceness and limits hold together; the job sees its file size limit and its umask."""
    wanted: dict[str, Any] = {"umask": 0o077, "nice": -5, "rlimits": {"fsize": [4096, -1]}, "user": USER}
    script = "echo x > small; head -c 9000 /dev/zero > large; echo $?; ulimit -H -f; nice"
    await each_host.finish("us1", script, cwd=str(open_folder), namespace=namespace, **wanted)
    code, hard, nice = each_host.output("us1").decode().split()
    assert (int(code) > 0, hard, nice) == (True, "unlimited", "-5")
    assert stat.S_IMODE((open_folder / "small").stat().st_mode) == 0o600
    assert (open_folder / "small").stat().st_uid == DAEMON
    assert (open_folder / "large").stat().st_size == 4096


async def test_memory_that_ends_before_the_execve(host: "Host") -> None:
    """A child without the memory to continue, or to report why, is a failed start, without an invented code."""
    arguments = ["x" * 120_000] * 8
    await host.launch("us1", "/bin/true", *arguments, rlimits={"as": [4096, 4096]})
    failed = await host.until(StartFailed, "us1")
    assert (failed.step, failed.errno) == ("setup", errno.ENOMEM)


@root
async def test_a_child_that_hangs_holds_nothing_of_ours(
    host: "Host", open_folder: Path, eventually: Callable[..., str]
) -> None:
    """Before its execve it has the user's id and no descriptor of the keeper's but the one for its report."""
    program = open_folder / "program"
    shutil.copy("/bin/true", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    other = await host.shell("us0", STOPPED)
    with program.open("rb+") as leased:
        fcntl.fcntl(leased, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        launch = asyncio.create_task(host.launch("us1", str(program), user=USER))
        await asyncio.sleep(0)
        known = {str(other.pid), str(host.link.hello["pump"])}
        children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
        pid = eventually(lambda: next(iter(set(children.read_text().split()) - known), None))
        eventually(lambda: status(int(pid))["NoNewPrivs"] == "1" or None)
        opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        owner = Path(f"/proc/{pid}/fd").stat().st_uid
    await launch
    signal.signal(signal.SIGIO, before)
    assert [name.partition("/us1.")[0].partition(":")[0] for name in sorted(opened)] == [
        "/dev/null",
        *[str(host.run / "fifo")] * 2,
        "pipe",
    ]
    assert owner == 0  # nobody else gets at its memory
    assert (await host.until(Ended, "us1")).code == 0


@pytest.mark.parametrize("limit", [{"as": [4096, 4096]}, {"data": [0, 0]}, {"nofile": [0, 0]}, {"stack": [0, 0]}])
async def test_a_limit_that_lets_nothing_run(host: "Host", limit: dict[str, list[int]]) -> None:
    """A limit too small to start anything is a failed start or a death by the kernel: no invented code."""
    await host.launch("us1", "/bin/true", rlimits=limit)
    outcome = await host.outcome("us1")
    if isinstance(outcome, Started):
        ended = await host.until(Ended, "us1")
        assert ended.signal in (signal.SIGKILL, signal.SIGSEGV) or ended.code == 127, ended
    else:
        assert outcome.step == "setup"
    assert (await host.finish("us2", "exit 4", nice=1)).code == 4


@pytest.mark.parametrize(
    ("change", "number"), [({"rlimits": {"moon": [1, 1]}}, errno.EINVAL), ({"nice": "x"}, errno.EINVAL)]
)
async def test_nonsense_is_a_start_that_failed(host: "Host", change: dict[str, Any], number: int) -> None:
    """What no agent would ask for starts nothing."""
    await host.launch("us1", "/bin/true", **change)
    failed = await host.until(StartFailed, "us1")
    assert (failed.step, failed.errno) == ("setup", number)


@root
async def test_an_orphan_of_theirs_is_left_behind(host: "Host") -> None:
    """What outlives the main process is seen as of any job."""
    ended = await host.finish("us1", "(setsid sleep 600 >/dev/null 2>&1 &)", user=USER)
    assert ended.left
    await host.until(Closed, "us1")


@root
@pytest.mark.parametrize(("dropped", "users"), [("setuid", "agent"), ("setpcap", "agent"), ("sys_ptrace", "any")])
async def test_root_without_capabilities(cold_host: "Host", dropped: str, users: str) -> None:
    """A keeper that cannot become another user, as root in a container, does not claim it."""
    if not shutil.which("setpriv"):
        pytest.skip("there is no setpriv")
    start_keeper_under(cold_host, ["setpriv", "--bounding-set", f"-{dropped}"])
    await cold_host.connect()
    assert cold_host.link.hello["users"] == users
