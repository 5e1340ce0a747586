"""Check which users can reach or replace a file or folder, and write secrets so that only we can.

Two rules, as sshd's StrictModes has them. What is ours belongs to us, and no other user can reach it. What an
operator gives us, such as a key from a secret of Kubernetes, comes from root or from us, and only they can change it.
A user with write access to a folder can replace whatever is in it, so each folder on the way counts as well.
"""

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobworker.errors import StartError

MAX_LINKS = 40  # on the way to a file, as the kernel has it
KUBERNETES_GROUP = stat.S_ISGID | stat.S_IRWXG  # what `fsGroup` adds to the mode of each folder of a volume


def require_trusted(path: Path) -> None:
    """Raise StartError if another user could change the file or folder, or replace it or a folder above it.

    What is missing is no fault: the first folder that is there decides who can make it.
    """
    for place, info in _places(path):
        if why := _changeable(info):
            kind = "file" if stat.S_ISREG(info.st_mode) else "folder"
            whole = f"{path}: " if str(path) != place else ""
            raise StartError(
                f"{whole}{place} {why}: another user could replace what is there; expected root or uid "
                f"{os.geteuid()} as its owner, and no other user who can write it",
                hint=_change_hint(place, info) if info.st_uid == os.geteuid() else f"use a {kind} elsewhere",
            )


def _change_hint(place: str, info: os.stat_result) -> str:
    return f"chmod {'go-w' if info.st_mode & stat.S_IWOTH else 'g-w'} {place}"


def _places(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each folder and link on the way to a path, then the path itself, as the kernel finds them."""
    # Of an absolute path the current folder does not matter: it may have been removed.
    names = [*reversed(str(path if path.is_absolute() else os.getcwd() / path).split("/"))]
    here, links = "/", 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        yield here, os.lstat(here)
        while names:
            name = names.pop()
            if name == "..":
                here = os.path.dirname(here)
            if name in ("", ".", ".."):
                continue
            place = os.path.join(here, name)
            info = os.lstat(place)
            yield place, info
            if not stat.S_ISLNK(info.st_mode):
                here = place
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = os.readlink(place)
            here = "/" if target.startswith("/") else here
            names += reversed(target.split("/"))


def _changeable(info: os.stat_result) -> str:
    """Return how a user other than root and us can change a file, folder or link; "" if none can."""
    if info.st_uid not in (0, os.geteuid()) and not _is_outside(info.st_uid):
        return f"belongs to uid {info.st_uid}"
    if stat.S_ISLNK(info.st_mode) or (stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX):
        return ""  # a link has no mode; in a sticky folder each user can replace only what is their own
    if info.st_mode & stat.S_IWOTH:
        return "can be written by every user"
    if info.st_mode & stat.S_IWGRP and not _is_our_group(info.st_gid):
        return f"can be written by the group {info.st_gid}"
    return ""


def _is_outside(uid: int) -> bool:
    """Whether a uid stands for users that do not exist in our user namespace, as root of the host is there."""
    with open("/proc/sys/fs/overflowuid") as file:
        if uid != int(file.read()):
            return False
    with open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return not any(first <= uid < first + count for first, _, count in ranges)


def _is_our_group(gid: int) -> bool:
    """Whether no other user is known to be in a group: the group of our own user, or one that Kubernetes gave us."""
    ours = {0, os.geteuid()}
    if any(user.pw_gid == gid and user.pw_uid not in ours for user in pwd.getpwall()):
        return False
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        return True
    for name in members:
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(name).pw_uid not in ours:
                return False
    return True


def make_private(folder: Path) -> None:
    """Make a folder, and refuse one that is not ours alone; raise StartError."""
    make_trusted(folder)
    require_private(folder)


def make_trusted(folder: Path) -> None:
    """Make a folder, 0700, where only root and we can replace it; raise StartError. It may be there already."""
    try:
        require_trusted(folder.parent)
        for above in reversed([place for place in folder.parents if not place.exists()]):
            above.mkdir(mode=0o755, exist_ok=True)  # whatever the umask: what others can write, they can replace
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        hint = "set JOBWORKER_HOME to a folder that can be written; in a container, to a volume"
        reason = f"{folder} cannot be created: {error.strerror}; expected a folder of this user"
        raise StartError(reason, hint=hint) from error


def require_private(path: Path) -> None:
    """Raise StartError unless a file or folder that we made is still ours, and no other user can read or write it.

    Kubernetes adds the rights of `fsGroup` to a volume at each start of a pod: they are taken away again.
    """
    info = path.lstat()
    folder = stat.S_ISDIR(info.st_mode)
    us = os.geteuid()
    if stat.S_ISLNK(info.st_mode):
        raise StartError(f"{path} is a symbolic link; expected a file or folder that belongs to uid {us}")
    if info.st_uid != us:
        hint = f"set JOBWORKER_HOME to a folder of your own, or chown {us} {path}" if folder else f"chown {us} {path}"
        raise StartError(f"{path} belongs to uid {info.st_uid}; expected uid {us}", hint=hint)
    if not info.st_mode & 0o077:
        return
    mode = 0o700 if folder else 0o600
    if reclaim(path):
        return
    raise StartError(
        f"{path} has mode {stat.S_IMODE(info.st_mode):o}: others can reach it; expected {mode:o}",
        hint=f"chmod {mode:o} {path}",
    )


def reclaim(path: Path) -> bool:
    """Take away the rights that `fsGroup` added to a file or folder of ours; return whether it had those alone."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    if info.st_uid != os.geteuid() or not info.st_mode & stat.S_IRWXG or info.st_mode & stat.S_IRWXO:
        return False
    if stat.S_ISDIR(info.st_mode):
        if info.st_mode & KUBERNETES_GROUP != KUBERNETES_GROUP:
            return False
        os.chmod(path, 0o700)
        return True
    above = path.parent.lstat()  # the rights of a file do not matter in a folder that only we can enter
    added = info.st_mode & stat.S_IRWXG == stat.S_IRGRP | stat.S_IWGRP
    if not added or not stat.S_ISREG(info.st_mode) or above.st_uid != info.st_uid or above.st_mode & 0o077:
        return False
    os.chmod(path, 0o600)
    return True


def require_given(path: Path) -> None:
    """Raise StartError if another user could read or change a secret that an operator gave us.

    Root may let a group read it for an agent that is not root, and everybody on a tmpfs, as secrets of Kubernetes and
    Docker are mounted.
    """
    require_trusted(path)
    info = path.stat()
    mode = stat.S_IMODE(info.st_mode)
    if not mode & 0o077 or (info.st_uid == 0 and _on_tmpfs(info.st_dev)):
        return
    if mode & 0o037 or info.st_uid != 0 or os.geteuid() == 0:
        raise StartError(
            f"{path} has mode {mode:o}: others can read this secret; expected 600, or 440 of a file that belongs to "
            "root if the agent runs as another user",
            hint=f"chmod 600 {path}" if info.st_uid == os.geteuid() else f"chmod 440 {path}",
        )


def _on_tmpfs(device: int) -> bool:
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo") as file:
        return any(line.split()[2] == number and " - tmpfs " in line for line in file)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file at once, 0600 from its birth."""
    replace_private({path: data})


def replace_private(files: Mapping[Path, bytes]) -> None:
    """Replace files that belong together: all are on disk, 0600 from their birth, before the first is renamed.

    Nothing that another user prepared is opened, and no folder that another user could replace is written to.
    """
    with contextlib.ExitStack() as stack:
        folders: dict[Path, int] = {}  # the descriptor of each folder
        for folder in {path.parent for path in files}:
            require_trusted(folder)
            folders[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folders[folder])
        staged: dict[str, Path] = {}  # by name: files that are written, to be renamed to a path
        try:
            for path, data in files.items():
                name = f".{path.name}.{os.urandom(8).hex()}"
                _write_new(name, folders[path.parent], data)
                staged[name] = path
            for name in [*staged]:
                fd = folders[staged[name].parent]
                os.replace(name, staged[name].name, src_dir_fd=fd, dst_dir_fd=fd)
                del staged[name]
        except OSError:
            for name, path in staged.items():
                os.unlink(name, dir_fd=folders[path.parent])
            raise
        for fd in folders.values():  # else a power cut may bring the old file back
            sync(fd)


def _write_new(name: str, folder: int, data: bytes) -> None:
    """Write a file that does not exist yet, and have it on disk; leave none if that fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise


def sync(folder: int) -> None:
    """Have the names in a folder, given by its descriptor, survive a power cut."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot
            raise
