"""Look up files without ever waiting: for a disk, for a file system of another process, for a host that is gone."""

import ctypes
import errno
import os
import stat
import struct

from jobworker.linux import features

OPENAT2 = 437  # the number of the system call on every machine but alpha
# Follow no link of /proc, and fail with EAGAIN if the answer is not in the kernel's cache (Linux 5.12): before any
# file system or automounter is asked. Not RESOLVE_NO_XDEV: with it the kernel refuses a folder over which anything is
# mounted in any mount namespace, as systemd does with /home, /root and /tmp for most of its services.
RESOLVE_NO_MAGICLINKS, RESOLVE_CACHED = 0x02, 0x20
AT_EMPTY_PATH, AT_STATX_DONT_SYNC = 0x1000, 0x4000
STATX_BYTES, STATX_DEVICE = 256, 136  # of struct statx, and of the device in it: two unsigned ints
# File systems whose files the kernel reads itself, from a disk of this host or from memory. Not those that ask a
# process or another host, nor overlays, whose layers may.
LOCAL_TYPES = frozenset({"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "squashfs", "tmpfs", "xfs"})
AT_FDCWD = -100
_libc = ctypes.PyDLL(None, use_errno=True)


class _How(ctypes.Structure):
    """struct open_how of <linux/openat2.h>."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


_FOLDER = _How(
    flags=os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC,
    resolve=RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED,
)


_FILE = _How(flags=os.O_PATH | os.O_CLOEXEC, resolve=RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED)


def open_folder_at_once(path: str) -> int:
    """Return a descriptor, O_PATH, of a folder on any file system; raise OSError if that could take time."""
    return _open_at_once(path, _FOLDER)


def device_of(fd: int) -> int:
    """Return the device number of an open file, O_PATH or not, without a question to its file system."""
    found = ctypes.create_string_buffer(STATX_BYTES)
    if _libc.statx(fd, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, found):
        code = ctypes.get_errno()
        raise OSError(code, f"statx: {os.strerror(code)}")
    return os.makedev(*struct.unpack_from("II", found, STATX_DEVICE))


def look_at_once(path: str, size: int) -> tuple[int, bool, bytes]:
    """Return the mode of a file of this host, whether it is mounted noexec, and its first bytes if it is regular.

    Raises OSError if that could take time.
    """
    fd = _open_at_once(path, _FILE)
    try:
        if device_of(fd) not in local_devices():
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        info = os.fstat(fd)
        first = b""
        if stat.S_ISREG(info.st_mode):
            with open(f"/proc/self/fd/{fd}", "rb", opener=_without_waiting) as file:
                first = file.read(size)
        return info.st_mode, bool(os.fstatvfs(fd).f_flag & os.ST_NOEXEC), first
    finally:
        os.close(fd)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for a lease of another process


def _open_at_once(path: str, how: _How) -> int:
    if not features.has("openat2_cached") or not path.startswith("/"):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    size = ctypes.c_size_t(ctypes.sizeof(_How))
    fd: int = _libc.syscall(ctypes.c_long(OPENAT2), AT_FDCWD, os.fsencode(path), ctypes.byref(how), size)
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return fd


def local_devices() -> set[int]:
    """Return the device numbers (`st_dev`) of the mounts whose files the kernel reads itself."""
    found = set()
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if rest.split()[0] in LOCAL_TYPES:
                major, minor = fields.split()[2].split(":")
                found.add(os.makedev(int(major), int(minor)))
    return found
