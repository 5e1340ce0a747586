"""Secrets that a job reads from files: each in memory, with mode 0600, of the job's user, until the job has ended."""

import ctypes
import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jobworker.errors import DiskFull, NotSupported
from jobworker.formats.secrets import FILES
from jobworker.jobs.identity import Identity
from jobworker.linux.private_tmp import FOLDERS as HIDDEN_BY_PRIVATE_TMP
from jobworker.linux.syscalls import LIBC
from jobworker.run_folder import is_only_ours_to_change

IN_MEMORY = (0x01021994, 0x858458F6)  # f_type of tmpfs and ramfs
FIELD = "secret_files"


class SecretFiles:
    """The files of all jobs, below one folder. Only their own user can read them, which may pass the folders."""

    def __init__(self, run: Path) -> None:
        # The run folder of root is closed to the users of jobs; that of another agent is of their user.
        self._folder = run.with_name(f"{run.name}.{FILES}") if os.geteuid() == 0 else run / FILES

    def write(
        self, job: str, values: Mapping[str, str], user: Identity | None, *, private_tmp: bool
    ) -> dict[str, str]:
        """Write the values of a job that is about to start; return the paths, by variable.

        Raises NotSupported if the job could not read them, or they would be on a disk, and DiskFull.
        """
        if not values:
            return {}
        if private_tmp and any(self._folder.is_relative_to(hidden) for hidden in HIDDEN_BY_PRIVATE_TMP):
            text = f"{FIELD}: a job with private_tmp does not see {self._folder}"
            raise NotSupported(text, hint="mount a tmpfs on /run", field=FIELD)
        place = self._folder / job
        try:
            self._make_folder()
            _make_passable(place)
            for name, value in values.items():
                _write_for(place / name, os.fsencode(value), user)
        except OSError as error:
            self.drop(job)
            if error.errno == errno.EPERM:
                text = f"{FIELD}: {place}: the agent may not give files to other users"
                raise NotSupported(text, hint="CAP_CHOWN is missing", field=FIELD) from error
            raise DiskFull(f"{FIELD}: {place}: {error.strerror}") from error
        return {name: str(place / name) for name in values}

    def _make_folder(self) -> None:
        """Make the folder; raise NotSupported if it is not in memory, or another user has made it before."""
        _make_passable(self._folder)
        if not is_only_ours_to_change(self._folder):
            raise NotSupported(f"{FIELD}: {self._folder} belongs to another user; remove it", field=FIELD)
        require_memory(self._folder, FIELD)

    def drop(self, job: str) -> None:
        """Remove the files of a job; with the last ones the folder."""
        if not is_only_ours_to_change(self._folder):  # another user could have us remove files elsewhere
            return
        place = self._folder / job
        with suppress(OSError):
            for name in os.listdir(place):
                (place / name).unlink(missing_ok=True)
            place.rmdir()
            self._folder.rmdir()

    def kept(self) -> list[str]:
        """Return the jobs of which there are files."""
        return os.listdir(self._folder) if is_only_ours_to_change(self._folder) else []


def require_memory(folder: Path, field: str) -> None:
    """Raise NotSupported if a folder is not in memory."""
    buffer = ctypes.create_string_buffer(256)  # struct statfs, whose first field is the number of its kind
    LIBC.statfs(os.fsencode(folder), buffer)
    if ctypes.c_ulong.from_buffer(buffer).value not in IN_MEMORY:
        text = f"{field}: {folder} is not in memory; expected a tmpfs: no secret is written to a disk"
        raise NotSupported(text, hint="mount a tmpfs on /run or /dev/shm", field=field)


def _make_passable(folder: Path) -> None:
    """Make a folder that all may pass, and only we may list or change."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o711)
        folder.chmod(0o711)  # whatever the umask


def _write_for(path: Path, value: bytes, user: Identity | None) -> None:
    path.unlink(missing_ok=True)  # of a start that failed
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        os.fchmod(fd, 0o600)
        if user is not None and user.uid != os.geteuid():
            os.fchown(fd, user.uid, user.gid)
        file.write(value)
