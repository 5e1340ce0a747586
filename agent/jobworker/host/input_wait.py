"""Look whether a job waits for its input: one of its threads blocks reading it, and none of them runs.

What the kernel shows counts, never what the job has written.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jobworker.host.procfs import ProcReader
from jobworker.linux.blocked import CALLS, MACHINE, awaited, call_of, device_of_terminal
from jobworker.linux.proc import stat_of

CONTROLLING = os.makedev(5, 0)  # the device /dev/tty
GONE = (FileNotFoundError, ProcessLookupError)
RUNNING = "RD"  # states of a thread that uses a processor or a disk, or waits for one


class Input(NamedTuple):
    """What a job reads its input from."""

    fifo: str  # how the path of its FIFO ends
    terminal: int  # the device of its terminal, as `st_rdev`; 0: it has none


class Look(NamedTuple):
    """What one look at a job has found."""

    waits: bool  # a thread blocks reading the input, and none runs
    ticks: int = 0  # of CPU time that its living processes have used
    refused: str = ""  # why some process could not be looked at


def terminal_of(pid: int) -> int:
    """Return the device of the controlling terminal of a process; 0 if it has none or is gone."""
    try:
        return device_of_terminal(int(stat_of(pid)[4]))
    except OSError:
        return 0


def members(group: str, roots: Iterable[int]) -> list[int]:
    """Return the pids in a cgroup ("": there is none), those of the root processes, and of all descendants."""
    queue = [pid for pid in roots if pid]
    for folder, _, _ in os.walk(group) if group else ():
        with suppress(OSError):
            queue += [int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()]
    found = set(queue)
    for pid in queue:
        fresh = set(_children(pid)) - found
        found |= fresh
        queue += fresh
    return list(found)


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())


def look(pids: Iterable[int], source: Input, reader: ProcReader) -> Look:
    """Look at the processes of a job once. Blocking; call it by `run_with_stuck_guard`."""
    waits, ticks, refused = False, 0, ""
    for pid in pids:
        try:
            fields = stat_of(pid)
            ticks += int(fields[11]) + int(fields[12])
            threads = [pid] if int(fields[17]) <= 1 else [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
            for thread in threads:
                state = (fields if thread == pid else stat_of(thread))[0]
                if state in RUNNING:
                    return Look(False, ticks, refused)
                if state == "S" and not waits:
                    waits = reader.call(thread, int(fields[19]), partial(_reads, thread, source, fields))
        except GONE:
            continue
        except (OSError, ValueError) as error:
            refused = f"process {pid}: {error}"
    return Look(waits, ticks, refused)


def _reads(thread: int, source: Input, fields: list[str]) -> bool:
    """Whether a thread blocks until it can read the input of its job."""
    return any(_is_input(thread, fd, source, fields) for fd in awaited(thread))


def _is_input(thread: int, fd: int, source: Input, fields: list[str]) -> bool:
    path = f"/proc/{thread}/fd/{fd}"
    try:
        name = os.readlink(path)
        if not source.terminal:
            return name.removesuffix(" (deleted)").endswith(source.fifo)
        if "/pts/" not in name and not name.endswith(("/tty", "/console")):
            return False  # before `stat`, which waits for a file system that hangs
        device = os.stat(path).st_rdev
    except GONE:
        return False
    own = device_of_terminal(int(fields[4]))
    return source.terminal in (device, own if device == CONTROLLING else 0)


def hidden(pid: int, start: int, reader: ProcReader) -> str:
    """Return why no job can be looked at, after a trial with this process of ours, as the keeper; "" if jobs can."""
    if MACHINE not in CALLS:
        return f"the system calls of {MACHINE} are not known"
    try:
        reader.call(pid, start, partial(call_of, pid))
    except FileNotFoundError:
        return f"/proc/{pid}/syscall does not exist: the kernel has none, or /proc is mounted with hidepid"
    except PermissionError as error:
        return f"/proc/{pid}/syscall: {error.strerror}{_scope()}"
    except (OSError, ValueError) as error:
        return f"/proc/{pid}/syscall: {error}"
    return ""


def _scope() -> str:
    """Return the setting of the kernel that restricts who may look at a process of the same user, if it does."""
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return ""
    return f"; kernel.yama.ptrace_scope is {scope}, expected 0, or run the agent as root" if scope else ""
