"""Spawn a program that is born in a cgroup: posix_spawn of glibc 2.39, of which Python has no more than a part.

It neither copies an address space, as a fork does, nor waits for an RCU grace period, as a move to a cgroup may.
"""

import ctypes
import errno
import os
from collections.abc import Iterable, Mapping, Sequence

from jobworker.linux import features
from jobworker.linux.syscalls import ALL_SIGNALS

SETSIGDEF, SETSIGMASK, SETSID, SETCGROUP = 0x04, 0x08, 0x80, 0x100  # of <spawn.h>
ATTRIBUTES_BYTES, ACTIONS_BYTES, SIGNALS_BYTES = 512, 256, 128  # more than these structures have in glibc, or as many
# Of a clone3 into a group that is gone, or that this kernel or a filter refuses; no execve ends like this.
NO_GROUP = (errno.ENODEV, errno.EBUSY, errno.EOPNOTSUPP, errno.ENOSYS)
_libc = ctypes.CDLL(None)  # each of these functions returns an errno

Opening = tuple[int, str, int]  # a descriptor of the child, and the name and the flags to open it with


class GroupError(OSError):
    """No process can be started in the cgroup; outside of it one might."""


def _signals(numbers: Iterable[int]) -> ctypes.Array[ctypes.c_char]:
    """Return a sigset_t."""
    signals = ctypes.create_string_buffer(SIGNALS_BYTES)
    _libc.sigemptyset(signals)
    for number in numbers:
        _libc.sigaddset(signals, int(number))
    return signals


def _attributes() -> ctypes.Array[ctypes.c_char] | None:
    """Return a posix_spawnattr_t with all but the cgroup; None if this C library cannot set a cgroup."""
    if not hasattr(_libc, "posix_spawnattr_setcgroup_np"):
        return None
    attributes = ctypes.create_string_buffer(ATTRIBUTES_BYTES)
    _libc.posix_spawnattr_init(attributes)
    _libc.posix_spawnattr_setflags(attributes, ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID | SETCGROUP))
    _libc.posix_spawnattr_setsigmask(attributes, _signals([]))
    _libc.posix_spawnattr_setsigdefault(attributes, _signals(ALL_SIGNALS))
    return attributes


_shared = _attributes()
_actions = ctypes.create_string_buffer(ACTIONS_BYTES)
_pid = ctypes.c_int()


def is_available() -> bool:
    """Whether the C library can do it. The kernel can if a process can be cloned into a cgroup."""
    return _shared is not None and features.has("spawn_into_cgroup")


def spawn_into(
    group: str, program: str, argv: Sequence[str], env: Mapping[str, str], streams: Iterable[Opening]
) -> int:
    """Start a program in the cgroup of this folder, in a session of its own; return its pid.

    Its descriptor 2 is the same as 1 if it is not among `streams`. No signal is blocked or ignored. Raise GroupError,
    OSError, or ValueError for what no program can be given.
    """
    arguments = _strings(argv)
    variables = _strings([_variable(name, value) for name, value in env.items()])
    try:
        folder = os.open(group, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise GroupError(error.errno, f"{group}: {error.strerror}") from error
    try:
        _check(_libc.posix_spawnattr_setcgroup_np(_shared, folder))
        _check(_libc.posix_spawn_file_actions_init(_actions))
        try:
            _add(streams)
            path = os.fsencode(program)
            number = _libc.posix_spawn(ctypes.byref(_pid), path, _actions, _shared, arguments, variables)
        finally:
            _libc.posix_spawn_file_actions_destroy(_actions)
    finally:
        os.close(folder)
    if number in NO_GROUP:
        raise GroupError(number, f"posix_spawn into {group}: {os.strerror(number)}")
    _check(number, program)
    return _pid.value


def _add(streams: Iterable[Opening]) -> None:
    """Add what the child is to open."""
    last = 0
    for last, name, flags in streams:
        _check(_libc.posix_spawn_file_actions_addopen(_actions, last, os.fsencode(name), flags, 0))
    if last < 2:
        _check(_libc.posix_spawn_file_actions_adddup2(_actions, 1, 2))


def _variable(name: str, value: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"illegal environment variable name: {name!r}")
    return f"{name}={value}"


def _strings(words: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """Return an array of C strings, with NULL at its end."""
    encoded = [*map(os.fsencode, words)]
    if b"\0" in b"".join(encoded):
        raise ValueError("embedded null byte")
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded)


def _check(number: int, file: str | None = None) -> None:
    if number:
        raise OSError(number, os.strerror(number), file)
