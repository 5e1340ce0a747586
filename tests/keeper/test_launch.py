"""Launches: what a job starts with, how its end is reported, and why a start failed."""

import asyncio
import errno
import os
import resource
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobworker.errors import InternalError
from jobworker.host.journal import Closed, Ended, Launching, Started, StartFailed
from jobworker.linux.proc import group_of
from jobworker.testing.deadlines import SLOWNESS

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

STOPPED = "echo ready; kill -STOP $$"  # alive and to be looked at, without a descriptor of its own
LIBC = 0b11 << 31  # signals 32 and 33 are private to glibc, whose posix_spawn leaves them ignored


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def nofile(pid: int) -> tuple[str, str]:
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in line)
    soft, hard = line.split()[3:5]
    return soft, hard


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_exit_code_is_recorded(host: "Host", code: int) -> None:
    """Record the exit code, and no signal."""
    ended = await host.finish("a1", f"exit {code}")
    assert (ended.code, ended.signal, ended.core) == (code, None, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
async def test_death_by_signal_is_apart_from_the_code(host: "Host", number: int) -> None:
    """Record the signal, and no code."""
    ended = await host.finish("a1", f"kill -{int(number)} $$")
    assert (ended.code, ended.signal) == (None, number)


async def test_exit_code_that_looks_like_a_signal_stays_a_code(host: "Host") -> None:
    """Record 137 as the code that it is."""
    ended = await host.finish("a1", "exit 137")
    assert (ended.code, ended.signal) == (137, None)


async def test_records_come_in_order(host: "Host") -> None:
    """Journal launching, started and ended in this order, with times that do not run backwards."""
    await host.finish("a1", "exit 0")
    kinds = [type(record) for record in host.records]
    assert kinds[:2] == [Launching, Started]
    assert sorted(kind.__name__ for kind in kinds[2:]) == ["Closed", "Ended"]
    assert [record.at for record in host.records] == sorted(record.at for record in host.records)
    started, ended = host.of(Started, "a1")[0], host.of(Ended, "a1")[0]
    assert 0 < started.boottime <= ended.boottime


async def test_started_names_pid_and_start_of_the_process(host: "Host") -> None:
    """Journal the pid and the start in ticks that /proc shows."""
    started = await host.shell("a1", STOPPED)
    fields = Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()
    assert started.start == int(fields[19])


async def test_cpu_time_is_recorded(host: "Host") -> None:
    """Journal the CPU time of the job and of the children it waited for."""
    burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    ended = await host.finish("a1", f"({burn})")
    assert ended.user > 0


async def test_stdout_and_stderr_keep_their_bytes(host: "Host", tmp_path: Path) -> None:
    """Keep all 256 byte values, NULs too, in the stream they were written to."""
    every, zeros = bytes(range(256)) * 3, bytes(1000)
    (tmp_path / "every").write_bytes(every)
    (tmp_path / "zeros").write_bytes(zeros)
    await host.finish("a1", 'cat "$1"; cat "$2" >&2; cat "$1"', str(tmp_path / "every"), str(tmp_path / "zeros"))
    assert host.output("a1", 0) == every * 2
    assert host.output("a1", 1) == zeros


async def test_arguments_arrive_untouched(host: "Host") -> None:
    """Pass every argument as it is: empty, with spaces and newlines, not of ASCII."""
    arguments = ["", "a b", "x\ny", "é☃", "--", "*"]
    await host.finish("a1", 'printf "%s\\0" "$@"', *arguments)
    assert host.output("a1").decode().split("\0")[:-1] == arguments


@pytest.fixture
def hostile_parent() -> Iterator[int]:
    """Let this process be a bad parent: a leaked descriptor, ignored and blocked signals, a umask, a low limit."""
    reader, writer = os.pipe()
    leaked = 57
    os.dup2(writer, leaked, inheritable=True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    umask = os.umask(0o077)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limit[1]))
    yield leaked
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    os.umask(umask)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGHUP, before)
    for fd in (reader, writer, leaked):
        os.close(fd)


async def test_nothing_of_the_parents_reaches_a_job(hostile_parent: int, cold_host: "Host") -> None:
    """Give a job 0, 1 and 2 only, no ignored or blocked signal, umask 022 and the agent's limit of open files."""
    hard = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    pipe = os.readlink(f"/proc/self/fd/{hostile_parent}")
    await cold_host.connect()
    started = await cold_host.shell("a1", STOPPED)
    await cold_host.lines("a1")

    fds = {int(fd): os.readlink(f"/proc/{started.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{started.pid}/fd")}
    assert set(fds) == {0, 1, 2}
    assert fds[0] == "/dev/null"
    facts = status(started.pid)
    assert int(facts["SigIgn"], 16) & ~LIBC == 0
    assert int(facts["SigBlk"], 16) == 0
    assert facts["Umask"] == "0022"
    assert nofile(started.pid) == ("300", hard)

    for pid in (cold_host.pid, cold_host.link.hello["pump"]):
        names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert pipe not in names
    assert nofile(cold_host.pid) == (hard, hard)


async def test_a_job_has_no_descriptor_of_another_job(host: "Host") -> None:
    """Give a job launched beside others, and from a large message, no more than 0, 1 and 2."""
    for number in range(5):
        await host.shell(f"b{number}", STOPPED)
    large = host.env("a1", PADDING="x" * 100_000, MORE="y" * 100_000)
    await host.launch("a1", "/bin/sh", "-c", STOPPED, env=large)
    started = await host.until(Started, "a1")
    await host.lines("a1")
    assert sorted(os.listdir(f"/proc/{started.pid}/fd")) == ["0", "1", "2"]


async def test_stdout_and_stderr_can_be_opened_again(host: "Host") -> None:
    """Let a job open /dev/stdout and /dev/stderr by name, and lose nothing by it."""
    await host.finish("a1", "echo 1; echo 2 >/dev/stdout; echo 3 >/dev/stderr; echo 4; echo 5 >&2")
    assert host.output("a1", 0) == b"1\n2\n4\n"
    assert host.output("a1", 1) == b"3\n5\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_the_streams_by_name_after_a_change_of_user(host: "Host") -> None:
    """A job that changes its user can still open /dev/stdout and /dev/stderr; other users cannot open its FIFOs."""
    become = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c"
    await host.finish("a1", f"{become} 'echo one > /dev/stderr; echo two > /dev/stdout'")
    assert (host.output("a1", 1), host.output("a1", 0)) == (b"one\n", b"two\n")


async def test_stdin_is_at_its_end(host: "Host") -> None:
    """Give a job an empty stdin."""
    ended = await host.finish("a1", "wc -c; readlink /proc/self/fd/0")
    assert ended.code == 0
    assert host.output("a1").split() == [b"0", b"/dev/null"]


async def test_a_job_leads_a_session_of_its_own(host: "Host") -> None:
    """Start the job as leader of a new session and group, without a terminal."""
    started = await host.shell("a1", STOPPED)
    fields = Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()
    parent, group, session, terminal = (int(field) for field in fields[1:5])
    assert (parent, group, session, terminal) == (host.pid, started.pid, started.pid, 0)


async def test_cwd_and_environment_are_those_of_the_spec(host: "Host", tmp_path: Path) -> None:
    """Start the job in its folder with exactly its environment."""
    env = host.env("a1", EMPTY="", SPACED="a b\nc", SNOW="☃")
    await host.launch("a1", "/bin/sh", "-c", STOPPED, cwd=str(tmp_path), env=env)
    started = await host.until(Started, "a1")
    host.stopped(started.pid)  # the kernel announces the execve before it shows the environment
    assert os.readlink(f"/proc/{started.pid}/cwd") == str(tmp_path)
    pairs = Path(f"/proc/{started.pid}/environ").read_bytes().decode().split("\0")[:-1]
    assert sorted(pairs) == sorted(f"{name}={value}" for name, value in env.items())
    assert os.readlink(f"/proc/{host.pid}/cwd") == "/"


async def test_program_is_looked_up_in_the_path_of_the_job(host: "Host", tmp_path: Path) -> None:
    """Find the program by the job's PATH, and a relative one from the job's folder."""
    script = tmp_path / "only-here"
    script.write_text("#!/bin/sh\necho found\n")
    script.chmod(0o755)
    refused = tmp_path / "first"
    (refused / "only-here").mkdir(parents=True)
    for job, argv, path in (
        ("a1", "only-here", f"{refused}:{tmp_path}"),
        ("a2", "./only-here", "/bin"),
        ("a3", "only-here", "/bin:"),
    ):
        await host.launch(job, argv, cwd=str(tmp_path), env=host.env(job, PATH=path))
        await host.until(Closed, job)
        assert host.output(job) == b"found\n"


async def test_a_job_is_born_in_its_cgroup(host: "Host") -> None:
    """Start the job inside its cgroup, and stay outside; without cgroups, let the sweep find it."""
    started = await host.shell("a1", "cat /proc/self/cgroup; kill -STOP $$")
    if not host.group:
        members = await host.tree("a1", started.pid).members()
        assert started.pid in [process.pid for process in members]
        return
    path = host.of(Launching, "a1")[0].group
    assert path == f"{host.group}/a1"
    line = await host.log_says(
        "a1", lambda: next((x for x in host.output("a1").decode().split("\n")[:-1] if x.startswith("0::")), None)
    )
    assert line.endswith(f"/{Path(host.group).name}/a1")
    own = group_of(host.pid)
    assert f"/{Path(host.group).name}/" not in f"{own}/"  # the scope beside systemd is named like it
    assert group_of(host.link.hello["pump"]) == own


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "no-interpreter").write_text("#!/no/such/interpreter\n")
    (tmp_path / "garbage").write_text("neither a script nor a program\n")
    for name in ("no-interpreter", "garbage"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "cwd", "step", "number"),
    [
        (["no-such-command"], "/", "exec", errno.ENOENT),
        (["{files}/no-such-file"], "/", "exec", errno.ENOENT),
        ([""], "/", "exec", errno.ENOENT),
        (["{files}/plain"], "/", "exec", errno.EACCES),
        (["plain"], "/", "exec", errno.EACCES),
        (["{files}"], "/", "exec", errno.EACCES),
        (["{files}/no-interpreter"], "/", "exec", errno.ENOENT),
        (["{files}/garbage"], "/", "exec", errno.ENOEXEC),
        (["true", "x" * 131_072], "/", "exec", errno.E2BIG),
        (["true"], "{files}/no-such-folder", "cwd", errno.ENOENT),
        (["true"], "{files}/plain", "cwd", errno.ENOTDIR),
        (["true", "a\0b"], "/", "setup", errno.EINVAL),
    ],
)
async def test_failed_start_names_step_and_errno(
    host: "Host", files: Path, argv: list[str], cwd: str, step: str, number: int
) -> None:
    """Say which step failed and why, leave nothing of the job, and stay ready for the next."""
    argv = [word.replace("{files}", str(files)) for word in argv]
    env = host.env("a1", PATH=f"{files}:/usr/bin:/bin")
    await host.launch("a1", *argv, cwd=cwd.replace("{files}", str(files)), env=env)
    failed = await host.until(StartFailed, "a1")
    assert (failed.step, failed.errno) == (step, number)
    # The pump may find the end of the pipes before the keeper knows of the failure.
    kinds = [type(record) for record in host.records if not isinstance(record, Closed)]
    assert kinds == [Launching, StartFailed]
    assert os.listdir(host.run / "fifo") == []
    assert not (host.home.logs / "a1").exists()
    if host.group:
        assert not Path(host.group, "a1").exists()
    assert (await host.finish("a2", "exit 4")).code == 4


async def test_spec_of_900_kilobytes_is_launched(host: "Host") -> None:
    """Take a spec that is too large for a message."""
    arguments = ["y" * 100] * 9000
    await host.finish("a1", 'echo $#; printf %s "$@" | wc -c', *arguments)
    assert host.output("a1").split() == [b"9000", b"900000"]


async def test_the_same_id_is_refused_while_the_job_is_there(host: "Host") -> None:
    """Refuse an id that is taken, and leave its job alone."""
    started = await host.shell("a1", STOPPED)
    with pytest.raises(InternalError, match="launched before"):
        await host.launch("a1", "/bin/true")
    assert len(host.of(Launching, "a1")) == 1
    assert stat.S_ISFIFO((host.run / "fifo" / "a1.out").lstat().st_mode)
    host.resume(started.pid)
    assert (await host.until(Ended, "a1")).code == 0


async def test_many_launches_at_once(host: "Host") -> None:
    """Launch three hundred jobs asked for in one breath, each with its own status and output.

    On a slow host in several: a launch fails if its child gets no processor for seconds, beside as many others.
    """
    breath = int(300 / SLOWNESS)
    async with asyncio.timeout(3 * host.deadline):
        argv = ["/bin/sh", "-c", 'echo "$0"; exit "$1"']
        for first in range(0, 300, breath):
            numbers = range(first, min(first + breath, 300))
            await asyncio.gather(
                *(
                    host.link.ask(
                        "launch", id=f"m{n}", argv=[*argv, f"m{n}", str(n % 256)], env=host.env(f"m{n}"), cwd="/"
                    )
                    for n in numbers
                )
            )
            for n in numbers if breath < 300 else ():
                await host.until(Started, f"m{n}")
    for n in range(300):
        assert (await host.until(Ended, f"m{n}")).code == n % 256
        await host.until(Closed, f"m{n}")
        assert host.output(f"m{n}") == f"m{n}\n".encode()


@pytest.mark.parametrize("before", [0, 1])  # a failed start takes two messages: let either be the one too many
async def test_stuck_pump_is_no_matter_to_a_failed_start(
    host: "Host", ended_in_time: Callable[[int], bool], before: int
) -> None:
    """Journal every failed start while the pump does not listen, and keep nothing of them."""
    pump = host.link.hello["pump"]
    os.kill(pump, signal.SIGSTOP)
    try:
        for number in range(before):
            await host.launch(f"a{number}", "/bin/true")
        for number in range(300):
            await host.launch(f"f{number}", "/no/such/program")
    finally:
        os.kill(pump, signal.SIGCONT)
    for number in range(300):
        await host.until(StartFailed, f"f{number}")
    await host.ask("quit")
    assert ended_in_time(host.pid)


def test_home_with_a_long_name_has_sockets_all_the_same(tmp_path: Path) -> None:
    """Keep sockets and FIFOs apart from the home, whose path may be longer than a socket's name."""
    from jobworker.paths import Home

    home = Home(tmp_path / ("x" * 120) / ("y" * 120))
    home.create()
    run = home.create_run_folder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(run / "keeper.sock"))
    shutil.rmtree(run)


async def test_a_burst_of_launches_and_a_kill_of_one_of_them(host: "Host") -> None:
    """All that waits in the socket is handled in one turn: a job is there for what was asked after it."""
    await host.ask("hello")
    os.kill(host.pid, signal.SIGSTOP)
    burst = [host.launch(f"b{number}", "/bin/sh", "-c", f"echo {number}; exec sleep 600") for number in range(5)]
    kill = host.ask("signal", id="b2", target="main", signal=int(signal.SIGKILL), pids=[])
    asked = asyncio.gather(*burst, kill, host.launch("b5", "/bin/sh", "-c", "echo last"))
    await asyncio.sleep(0)  # now all of it is sent
    os.kill(host.pid, signal.SIGCONT)
    killed = (await asked)[5]
    assert killed is not None
    assert killed["delivered"] == 1
    outcome = await host.outcome("b2")
    if isinstance(outcome, StartFailed):
        assert outcome.errno == errno.ECANCELED
    else:
        assert (await host.until(Ended, "b2")).signal == signal.SIGKILL
    await host.until(Closed, "b5")
    assert host.output("b5") == b"last\n"
    for number in (0, 1, 3, 4):
        await host.until(Started, f"b{number}")
        await host.ask("signal", id=f"b{number}", target="main", signal=int(signal.SIGKILL), pids=[])
        await host.until(Closed, f"b{number}")
        assert host.output(f"b{number}") == f"{number}\n".encode()
