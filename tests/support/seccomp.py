"""Refuse a system call to a program, as seccomp profiles do: ``python seccomp.py NUMBER COMMAND…``."""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # instructions of BPF
ALLOW, FAIL_EPERM = 0x7FFF0000, 0x00050001
NUMBERS = {"splice": 275, "inotify_init1": 294, "pidfd_open": 434}  # of x86_64


def without(call: str) -> list[str]:
    """Return the command under which a program may not make this call."""
    return [sys.executable, __file__, str(NUMBERS[call])]


def available() -> bool:
    return platform.machine() == "x86_64"


class Program(ctypes.Structure):
    """struct sock_fprog of <linux/filter.h>."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def main() -> None:
    number, *command = sys.argv[1:]
    steps = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 1, 0, int(number)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, FAIL_EPERM),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = Program(len(steps), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)  # without a shell


if __name__ == "__main__":
    main()
