"""Confine this process, and all that it starts, for good: Landlock for files, seccomp for system calls.

Neither takes privileges. In a Landlock domain a process also traces none outside of it, not even of its own user.
It may signal them: the command of a stop, which has a domain of its own, signals the job.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Sequence

from jobworker.linux.syscalls import CLONE_NEWUSER, LIBC, PR_SET_NO_NEW_PRIVS, check

EVERYWHERE = ["/"]
PR_SET_SECCOMP, MODE_FILTER = 22, 2
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = (ctypes.c_long(number) for number in (444, 445, 446))
VERSION, PATH_BENEATH = ctypes.c_uint32(1), ctypes.c_int(1)
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
# To write and truncate files; to make, remove, rename and link names of any kind.
WRITE = WRITE_FILE | TRUNCATE | sum(1 << bit for bit in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13))
MIN_ABI = 3  # that knows TRUNCATE, without which a file could be emptied
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")  # below /dev: kept writable
LOAD, EQUAL, AT_LEAST, HAS_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of classic BPF
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the low word of the argument
ALLOW, FAIL = 0x7FFF0000, 0x00050000
X32 = 0x40000000  # numbers of the other ABI of x86_64
CLONE3, IO_URING_SETUP = 435, 425  # whose arguments a filter cannot read; which makes sockets as well
# By machine: its number for audit, then those of socket, clone and unshare.
MACHINES = {
    "x86_64": (0xC000003E, 41, 56, 272),
    "aarch64": (0xC00000B7, 198, 220, 97),
    "riscv64": (0xC00000F3, 198, 220, 97),
}


def confine(*, network: bool, userns: bool, write: Sequence[str]) -> None:
    """Confine this process: no sockets, no user namespaces, no changes but beneath some paths. Raise OSError."""
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    enter_domain(write)
    if not (network and userns):
        filter_calls(network=network, userns=userns)


def enter_domain(write: Sequence[str]) -> None:
    """Have files be changed beneath these paths only, and processes outside not be traced; raise OSError."""
    abi = LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)
    if abi < MIN_ABI:
        if [*write] == EVERYWHERE:
            return
        raise OSError(errno.EOPNOTSUPP, "Landlock is not available, or older than Linux 6.2")
    handled = struct.pack("Q", WRITE)
    rules = LIBC.syscall(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    try:
        for path in write:
            try:
                _allow(rules, path)
            except OSError as error:
                raise OSError(error.errno, f"sandbox.write: {path}: {error.strerror}") from error
        for path in (*(f"/dev/{name}" for name in DEVICES), *(f"/proc/self/fd/{fd}" for fd in range(3))):
            try:
                _allow(rules, path)
            except FileNotFoundError:
                pass  # a host without this device
        check(LIBC.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)), "landlock_restrict_self")
    finally:
        os.close(rules)


def _allow(rules: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        access = WRITE if stat.S_ISDIR(os.fstat(fd).st_mode) else WRITE_FILE | TRUNCATE
        rule = struct.pack("=Qi", access, fd)
        check(LIBC.syscall(ADD_RULE, rules, PATH_BENEATH, rule, ctypes.c_uint32(0)), f"landlock_add_rule of {path}")
    finally:
        os.close(fd)


def filter_calls(*, network: bool, userns: bool) -> None:
    """Have the kernel refuse system calls of this process; raise OSError."""
    machine = os.uname().machine
    if machine not in MACHINES or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.EOPNOTSUPP, f"no system calls are known for {machine}")
    audit, socket, clone, unshare = MACHINES[machine]
    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, audit), _fail(errno.ENOSYS), (LOAD, 0, 0, NUMBER)]
    if machine == "x86_64":
        program += [(AT_LEAST, 0, 1, X32), _fail(errno.ENOSYS)]
    refused = {} if network else {socket: errno.EACCES, IO_URING_SETUP: errno.ENOSYS}
    refused |= {} if userns else {CLONE3: errno.ENOSYS}  # the C library takes clone then
    for number, code in refused.items():
        program += [(EQUAL, 0, 1, number), _fail(code)]
    for number in () if userns else (clone, unshare):
        program += [(EQUAL, 0, 4, number), (LOAD, 0, 0, FIRST_ARGUMENT), (HAS_BITS, 0, 1, CLONE_NEWUSER)]
        program += [_fail(errno.EPERM), (RETURN, 0, 0, ALLOW)]
    program.append((RETURN, 0, 0, ALLOW))
    instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    check(LIBC.prctl(PR_SET_SECCOMP, MODE_FILTER, filter_, 0, 0), "prctl(PR_SET_SECCOMP)")


def _fail(code: int) -> tuple[int, int, int, int]:
    return RETURN, 0, 0, FAIL | code
