"""Which system call a thread is blocked in, and the descriptors that it waits to read from there."""

import errno
import os
import struct
from collections.abc import Iterator

# What a call waits for, by its number: `first`, `second`: to read from the descriptor that is this argument; `poll`,
# `select`, `epoll`: until one of several can be read; `restart`: what the call waited for that a signal interrupted.
_GENERIC = {63: "first", 65: "first", 286: "first", 76: "first", 77: "first", 71: "second"} | {
    73: "poll",
    72: "select",
    22: "epoll",
    441: "epoll",
    128: "restart",
}
CALLS = {
    "x86_64": {0: "first", 19: "first", 327: "first", 275: "first", 276: "first", 40: "second"}
    | {7: "poll", 271: "poll", 23: "select", 270: "select", 232: "epoll", 281: "epoll", 441: "epoll", 219: "restart"},
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
}
MACHINE = os.uname().machine
POLLFD = struct.Struct("=ihh")  # struct pollfd
READABLE = 0x001 | 0x002 | 0x040 | 0x080  # POLLIN, POLLPRI and their relatives; those of epoll are the same
MAX_DESCRIPTORS = 1024  # that are looked at of one call
WORD = 8  # bytes of a word of an fd_set


def call_of(thread: int) -> tuple[str, list[int]]:
    """Return what the call waits for that the thread is blocked in, as in CALLS, and its arguments.

    "" if it runs, or waits for anything else. Raises OSError, and ProcessLookupError if the thread is gone.
    """
    fd = os.open(f"/proc/{thread}/syscall", os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = os.read(fd, 512).split()
    finally:
        os.close(fd)
    if len(words) < 7:  # "running", or "-1" outside of any call
        return "", []
    what = CALLS.get(MACHINE, {}).get(int(words[0]), "")
    if what == "restart":  # of what sleeps by a clock, poll is the only one that waits for a descriptor
        what = "poll" if b"poll" in _wait_channel(thread) else ""
    return what, [int(word, 16) for word in words[1:7]]


def _wait_channel(thread: int) -> bytes:
    with open(f"/proc/{thread}/wchan", "rb") as file:
        return file.read()


def awaited(thread: int) -> Iterator[int]:
    """Yield the descriptors that the thread is blocked on until there is something to read; raise OSError."""
    what, arguments = call_of(thread)
    if what in ("first", "second"):
        yield arguments[what == "second"]
    elif what == "poll":
        size = min(arguments[1], MAX_DESCRIPTORS) * POLLFD.size
        for fd, events, _ in POLLFD.iter_unpack(_memory(thread, arguments[0], size)):
            if fd >= 0 and events & READABLE:
                yield fd
    elif what == "select":
        if arguments[1]:
            size = -(-min(arguments[0], MAX_DESCRIPTORS) // (WORD * 8)) * WORD
            bits = int.from_bytes(_memory(thread, arguments[1], size), "little")
            yield from (fd for fd in range(min(arguments[0], MAX_DESCRIPTORS)) if bits >> fd & 1)
    elif what == "epoll":
        yield from _watched(thread, arguments[0])


def _memory(thread: int, address: int, size: int) -> bytes:
    fd = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, size, address)
    finally:
        os.close(fd)
    if len(data) < size:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return data


def _watched(thread: int, epoll: int) -> Iterator[int]:
    """Yield the descriptors that an epoll waits to read from."""
    with open(f"/proc/{thread}/fdinfo/{epoll}") as file:
        for line in file:
            fields = line.split()
            if fields and fields[0] == "tfd:" and int(fields[3], 16) & READABLE:
                yield int(fields[1])


def device_of_terminal(number: int) -> int:
    """Return the device (as `st_rdev`) of the controlling terminal in /proc/PID/stat; 0: the process has none."""
    return os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00)
