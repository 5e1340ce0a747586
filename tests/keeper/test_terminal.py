"""A job with a terminal: a session of its own on it, its output in the log, and neither is lost with a process."""

import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.keeper_copy import copy_keeper
from tests.support.keeper_host import start_keeper_under
from tests.support.waiting import alive, until

from jobworker.host import keeper_process
from jobworker.host.journal import Closed, Ended, Started, StartFailed
from jobworker.linux.terminal import open_terminal
from jobworker.logs.sizes import recorded_sizes
from jobworker.pump.terminal import Terminal

if TYPE_CHECKING:
    from tests.support.keeper_host import Host

TTY: dict[str, Any] = {"tty": {"rows": 30, "cols": 100}, "stdin": "pipe"}
COUNT = "stty -opost; i=1; while [ $i -le {0} ]; do echo $i; i=$((i+1)); done"


def counted(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def has_master(pid: int) -> bool:
    """Whether a process holds the master of a terminal."""
    try:
        names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:  # one was closed, or the process is gone
        return False
    return any(name.endswith("/ptmx") for name in names)


async def replace_keeper(host: "Host", job: str, started: Started) -> dict[str, Any]:
    """Kill the keeper and have the next one adopt the job."""
    host.lost = 0
    os.kill(host.pid, signal.SIGKILL)
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    return await host.ask("adopt", id=job, pid=started.pid, start=started.start, ended=False, **TTY)


async def test_what_the_job_has(host: "Host") -> None:
    """It leads a session whose controlling terminal is its 0, 1 and 2; size and end are a terminal's."""
    script = "tty; tty <&1; tty <&2; stty size; cat /proc/$$/stat; ls -m /proc/$$/fd; tty </dev/tty; exit 7"
    ended = await host.finish("a1", script, **TTY)
    lines = host.output("a1").decode().split("\r\n")
    assert lines[0].startswith("/dev/pts/")
    assert lines[:3] == [lines[0]] * 3
    assert lines[3] == "30 100"
    pid, group, session, terminal, foreground = (lines[4].split()[place] for place in (0, 4, 5, 6, 7))
    assert pid == group == session == foreground
    assert int(terminal) == os.makedev(136, int(lines[0].rpartition("/")[2]))
    assert lines[5] == "0, 1, 2"
    assert lines[6:] == ["/dev/tty", ""]
    assert ended.code == 7
    assert os.listdir(host.run / "fifo") == []


async def test_resize(host: "Host") -> None:
    """The size changes, the foreground gets SIGWINCH, and a job without a terminal or without output is named."""
    await host.shell("a1", "trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.01; done", **TTY)
    await host.lines("a1")
    assert "error" not in await host.ask("resize", id="a1", rows=65535, cols=1)
    assert (await host.until(Ended, "a1")).code == 3
    await host.until(Closed, "a1")
    assert host.output("a1") == b"up\r\n65535 1\r\n"
    assert (await host.ask("resize", id="a1", rows=10, cols=10))["gone"]


async def test_sizes_are_recorded(host: "Host", tmp_path: Path) -> None:
    """Each with the offset at which it was changed: output that the pump has not moved yet counts."""
    script = "stty -opost; printf 01234; read x <&3; printf 56789; touch {0}; read x <&3"
    go, written = host.control("go"), tmp_path / "written"
    await host.shell("a1", f"exec 3<>{go}; {script.format(written)}", **TTY)
    await host.log_reaches("a1", 5)
    await host.ask("resize", id="a1", rows=4, cols=5)
    pump = host.link.hello["pump"]
    os.kill(pump, signal.SIGSTOP)
    host.say(go, "\n")
    await until(written.exists)
    await host.ask("resize", id="a1", rows=6, cols=7)
    os.kill(pump, signal.SIGCONT)
    host.say(go, "\n")
    await host.until(Closed, "a1")
    recorded = recorded_sizes(str(host.home.logs / "a1"))
    assert [size[1:] for size in recorded] == [(5, 4, 5), (10, 6, 7)]


async def test_killed_pumps_lose_nothing(host: "Host") -> None:
    """Again and again while it prints: every byte once, in order, and the job is not hung up."""
    expected = counted(60_000)
    await host.shell("a1", COUNT.format(60_000), **TTY)
    pump = kills = 0
    while kills < 6 and (size := host.reader("a1").size()) + 1000 < len(expected):
        await host.log_reaches("a1", size + 1000)
        pump = await host.kill_pump(pump)
        kills += 1
    assert kills >= 3
    closed = await host.until(Closed, "a1")
    assert (closed.size, closed.truncated) == (len(expected), False)
    assert (await host.until(Ended, "a1")).code == 0
    assert host.output("a1") == expected


async def test_killed_keepers_lose_nothing(host: "Host") -> None:
    """The pump holds the terminal meanwhile, and passes it on: then the pump may die as well."""
    go = host.control("go")
    started = await host.shell("a1", f"trap 'echo hup' HUP; echo a; read _ < {go}; stty size; exit 4", **TTY)
    await host.lines("a1")
    killed: set[int] = set()
    for size in (50, 51):
        assert (await replace_keeper(host, "a1", started))["held"]
        await host.ask("resize", id="a1", rows=size, cols=size)
        await until(lambda: has_master(host.pid))
        killed.add(await host.kill_pump(0))
        await until(lambda: any(has_master(pid) for pid in host.pumps() - killed))
    host.say(go, "\n")
    closed = await host.until(Closed, "a1")
    assert host.output("a1") == b"a\r\n51 51\r\n"
    assert not closed.truncated


async def test_an_upgrade_keeps_it(host: "Host", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version of the keeper has the terminal, and its new pump too."""
    go = host.control("go")
    await host.shell("a1", f"trap 'echo hup' HUP; echo a; read _ < {go}; echo b; stty size", **TTY)
    await host.lines("a1")
    monkeypatch.setattr(keeper_process, "KEEPER", copy_keeper(tmp_path / "newer"))
    host.link.close()
    await host.connect()
    await host.ask("resize", id="a1", rows=5, cols=6)
    host.say(go, "\n")
    await host.until(Closed, "a1")
    assert host.output("a1") == b"a\r\nb\r\n5 6\r\n"


async def test_keeper_and_pump_dead_together(host: "Host") -> None:
    """The terminal is hung up: the job gets SIGHUP, its log is closed and marked, and what was written is there."""
    started = await host.shell("a1", "echo a; exec sleep 1000", **TTY)
    await host.lines("a1")
    pumps = host.pumps()
    os.kill(host.pid, signal.SIGSTOP)  # it would start another pump
    for pid in (*pumps, host.pid):
        os.kill(pid, signal.SIGKILL)
    host.gone(started.pid)
    await host.until_lost()
    await host.link.dead()
    await host.connect()
    await host.ask("adopt", id="a1", pid=started.pid, start=started.start, ended=False, **TTY)
    closed = await host.until(Closed, "a1")
    assert (closed.size, closed.truncated) == (3, True)
    assert host.output("a1") == b"a\r\n"


async def test_a_background_process_that_ignores_the_hangup(host: "Host") -> None:
    """The end of the main process hangs up the foreground, as that of a shell does; the log ends with the last."""
    go, late = host.control("go"), host.control("late")
    script = f"(trap '' HUP; echo up; read _ < {late}; echo more) & echo $!; sleep 1000 & echo $!; read _ < {go}"
    await host.shell("a1", script, **TTY)
    lines = await host.lines("a1", 3)
    ignores, ends = (int(line) for line in lines if line != "up\r")
    host.say(go, "\n")
    assert (await host.until(Ended, "a1")).code == 0
    host.gone(ends)
    assert not host.of(Closed, "a1")
    assert alive(ignores)
    host.say(late, "\n")
    await host.until(Closed, "a1")
    assert host.output("a1").endswith(b"more\r\n")


async def test_a_small_bound_and_a_fast_writer(host: "Host") -> None:
    """A log of 64 KiB keeps the newest output of a terminal; the offsets count all."""
    await host.shell("a1", COUNT.format(100_000), max=65536, **TTY)
    closed = await host.until(Closed, "a1")
    expected = counted(100_000)
    assert closed.size == len(expected)
    assert 0 < closed.size - closed.first <= 65536
    assert b"".join(chunk.data for chunk in host.chunks("a1", closed.size - 1000)) == expected[-1000:]


async def test_a_launch_that_fails(host: "Host") -> None:
    """Nothing is left of pipe and terminal, and the next job has one."""
    await host.launch("a1", "/no/such/program", **TTY)
    assert (await host.until(StartFailed, "a1")).errno == errno.ENOENT
    assert os.listdir(host.run / "fifo") == []
    assert (await host.finish("a2", "tty; exit 5", **TTY)).code == 5
    await until(lambda: not has_master(host.pid))


async def test_no_terminal_is_free(host: "Host") -> None:
    """With all terminals in use the launch fails with the reason; when one is free again, one is had."""
    limit = Path("/proc/sys/kernel/pty/max")
    if os.geteuid():
        pytest.skip("only root can lower the number of terminals")
    used, before = int(Path("/proc/sys/kernel/pty/nr").read_text()), limit.read_text()
    masters = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) for _ in range(2)]
    try:
        limit.write_text(str(used + 1))
        await host.launch("a1", "/bin/true", **TTY)
        failed = await host.until(StartFailed, "a1")
    finally:
        limit.write_text(before)
        for fd in masters:
            os.close(fd)
    assert (failed.step, failed.errno) == ("setup", errno.ENOSPC)
    assert "no terminal can be opened" in failed.detail
    assert "kernel/pty/max" in failed.detail
    assert (await host.finish("a2", "tty; exit 5", **TTY)).code == 5


def test_a_kernel_without_splice_from_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are copied: all arrive as before."""
    master, slave = open_terminal(10, 20)
    reader, writer = os.pipe()
    terminal = Terminal("a1", master, reader)
    monkeypatch.setattr(os, "splice", lambda *_, **__: os.lseek(reader, 0, 99))  # EINVAL
    with pytest.raises(OSError, match="Invalid"):
        os.splice(1, 2, 3)
    os.write(slave, b"hello\n")
    assert terminal.move()
    assert terminal.move()
    assert os.read(reader, 100) == b"hello\r\n"
    os.close(slave)
    assert not terminal.move()
    terminal.close()
    os.close(reader)
    os.close(writer)


async def test_a_host_without_terminals(cold_host: "Host") -> None:
    """The trial at the keeper's start finds out, and the reason names the file."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    start_keeper_under(cold_host, [*unshare, "sh", "-c", 'mount -t tmpfs none /dev/pts && exec "$@"', "sh"])
    hello = (await cold_host.connect()).hello
    assert hello["terminal"] is False
    assert "/dev/ptmx" in hello["no_terminal"]
    assert (await cold_host.finish("a1", "exit 3")).code == 3
