"""The start of a process, known from the clock as /proc has it, and its end, seen before it is reaped."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobworker.linux import syscalls
from jobworker.linux.proc import start_of
from jobworker.linux.starts import NS_PER_TICK, StartClock


def test_it_is_what_proc_has() -> None:
    """For processes that start at any point of a tick, those that a tick ends in between included."""
    clock = StartClock()
    for number in range(60):
        end = time.monotonic_ns() + number * NS_PER_TICK // 30
        while time.monotonic_ns() < end:
            pass
        began = clock.now()
        pid = os.posix_spawn("/bin/true", ["true"], {})
        try:
            assert clock.start_of(pid, began) == start_of(pid)
        finally:
            os.waitpid(pid, 0)


def test_a_tick_that_ended_meanwhile_is_not_believed() -> None:
    assert StartClock().start_of(os.getpid(), StartClock().now() - 1) == start_of(os.getpid())


def test_a_clock_that_proc_does_not_follow_is_not_believed() -> None:
    """As in a container that shows its processes another time of boot: this process stands for one just started."""
    clock = StartClock()
    while (began := clock.now()) == start_of(os.getpid()):
        pass
    assert clock.start_of(os.getpid(), began) == start_of(os.getpid())
    assert clock.start_of(os.getpid(), clock.now()) == start_of(os.getpid())


SEEN = """
import os, signal, sys
sys.path.append(sys.argv[1])
from jobworker.linux import syscalls
if sys.argv[2] == "python":
    syscalls.WAITID = None
for script, code, status in (("exit 7", os.CLD_EXITED, 7), ("kill -TERM $$", os.CLD_KILLED, signal.SIGTERM)):
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", script], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        child = syscalls.ended_child()
        assert child[:3] == (pid, code, status), child
        assert (child.usage is None) == (syscalls.WAITID is None), child
        assert child.usage is None or child.usage.peak > 0, child
    os.waitpid(pid, 0)
pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
assert syscalls.ended_child() is None
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
try:
    syscalls.ended_child()
except ChildProcessError:
    print("seen")
"""


@pytest.mark.parametrize("way", ["system call", "python"])
def test_an_ended_child_is_seen_and_not_reaped(way: str) -> None:
    """By the system call, whose result has its usage, or by what Python has on other machines."""
    root = str(Path(syscalls.__file__).parents[2])
    assert subprocess.check_output([sys.executable, "-c", SEEN, root, way]) == b"seen\n"
