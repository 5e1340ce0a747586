"""When a process started, known from the clock: it must be what /proc has, as that identifies the process."""

import os
import time

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
