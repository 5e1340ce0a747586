"""Fork into a cgroup by clone3(2): the child is born in it.

A write to `cgroup.procs` waits for an RCU grace period, some 10 ms, when the host has moved no process for a while;
clone3 never waits for one.
"""

import ctypes
import errno
import os

from jobworker.linux import features

CLONE3 = 435  # the number of the system call on every machine but alpha
CLONE_INTO_CGROUP = 1 << 33  # Linux 5.7
SIGCHLD = 17  # on every machine but alpha, mips and parisc
_interpreter = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock, which the child then has as well


class _Arguments(ctypes.Structure):
    """struct clone_args of <linux/sched.h>, version 2."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


def fork_into(group: str) -> int:
    """Fork; return 0 in the child, which is in the cgroup of this folder, else its pid. Raise OSError.

    Only for a process with one thread, and a child that executes a program or ends by os._exit.
    """
    if not features.has("clone_into_cgroup"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    folder = os.open(group, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        arguments = _Arguments(flags=CLONE_INTO_CGROUP, exit_signal=SIGCHLD, cgroup=folder)
        number, size = ctypes.c_long(CLONE3), ctypes.c_size_t(ctypes.sizeof(_Arguments))
        pid: int = _interpreter.syscall(number, ctypes.byref(arguments), size)
    finally:
        os.close(folder)
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"clone3 into {group}: {os.strerror(code)}")
    return pid
