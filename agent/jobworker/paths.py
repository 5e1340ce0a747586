"""The paths of the state folder, its files, and the folder for sockets and FIFOs; private files and folders.

``docs/reference/on-disk-formats.md`` describes each file.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from jobworker.errors import StartError


def default_home() -> Path:
    """Return the state folder: ``JOBWORKER_HOME``, else the system's if root, else the user's; raise StartError."""
    if chosen := os.environ.get("JOBWORKER_HOME"):
        return _expanded(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/jobworker")
    return _expanded(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "jobworker"


def contexts_file() -> Path:
    """Return the file with the contexts of `jw`: in ``JOBWORKER_HOME`` if it is set, else in the user's settings."""
    if chosen := os.environ.get("JOBWORKER_HOME"):
        return _expanded(chosen) / "contexts.json"
    return _expanded(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "jobworker" / "contexts.json"


def _expanded(path: str) -> Path:
    """Return an absolute path, with `~` replaced; raise StartError if a home folder is not known."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise StartError(
            f"{path}: the home folder is not known: HOME is not set, or no such user is in /etc/passwd "
            f"(this is uid {os.geteuid()})",
            hint="set JOBWORKER_HOME to a folder that this user can write",
        ) from None


class Home:
    """The state folder and the paths in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"  # of the local agent, if the user wrote one
        self.address = path / "agent.json"  # address and pid of the listening agent
        self.agent_log = path / "agent.log"  # of a local agent; another one logs to its stderr
        self.keeper_log = path / "keeper.log"  # the stderr of keeper and pump
        self.audit = path / "audit.log"  # logins, refusals and changes
        self.journal = path / "journal"  # launches and exits, written by the keeper alone
        self.database = path / "jobs.db"  # the job table, in SQLite
        self.logs = path / "logs"  # a folder for each job that has written something
        self.tokens = path / "tokens.json"  # hashes of the bearer tokens
        self.local_token = path / "local.token"  # an admin's token, for `jw` on this host
        self.tls = path / "tls"  # the agent's own CA and certificate

    def create(self) -> None:
        """Create the folder; raise StartError if it exists and others can reach it."""
        make_private(self.path)
        try:
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.logs, error) from error

    def read_only(self) -> bool:
        """Whether the state folder is read-only, as after an error of its disk."""
        return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)

    def open_locks(self, *, create: bool = False) -> list[int]:
        """Open the files whose locks the agent holds for its life.

        The lock in the state folder holds for all agents that can reach it, the one in the run folder also if the
        state folder is read-only.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        locks = []
        for folder in (self.path, self.create_run_folder() if create else self.run_folder()):
            try:
                locks.append(os.open(folder / "agent.lock", flags, 0o600))
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
        return locks

    def run_folder(self) -> Path:
        """Return the folder for sockets and FIFOs: private, and on tmpfs if possible.

        Its path is short, because a socket's path has 108 bytes. It is the first place that can be written, with the
        state folder as the last.
        """
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:12]
        uid = os.geteuid()
        name = f"jobworker-{uid}-{digest}"
        mounted = _tmpfs_mounts()
        places = [Path(base, name) for base in ("/dev/shm", "/run", "/tmp") if base in mounted]
        if uid == 0 and "/run" in mounted:
            places.insert(0, Path("/run/jobworker", digest))
        places += [Path("/tmp", name), self.path / name]
        return next(filter(_usable, places), places[-1])

    def create_run_folder(self) -> Path:
        """Create the run folder; raise StartError if its name is taken by another user."""
        folder = self.run_folder()
        make_private(folder)
        return folder


def _usable(folder: Path) -> bool:
    """Whether a folder exists on a writable file system, or can be created."""
    if os.path.lexists(folder):
        # Also if it belongs to another user, which `make_private` refuses: else that user could choose the folder.
        return not os.statvfs(folder.parent).f_flag & os.ST_RDONLY
    above = next(place for place in folder.parents if place.exists())
    return os.access(above, os.W_OK | os.X_OK, effective_ids=True)


def _unwritable(folder: Path, error: OSError) -> StartError:
    hint = "set JOBWORKER_HOME to a folder that can be written; in a container, to a volume"
    return StartError(f"{folder} cannot be created: {error.strerror}; expected a folder of this user", hint=hint)


def _tmpfs_mounts() -> set[str]:
    with open("/proc/self/mountinfo") as file:
        return {fields[4] for line in file if (fields := line.split()) and " - tmpfs " in line}


def make_private(folder: Path) -> None:
    """Create a folder with mode 0700; raise StartError if it exists and others can reach it."""
    try:
        for above in reversed([place for place in folder.parents if not place.exists()]):
            # Not by the umask: users that can write to a folder can replace what is in it.
            above.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    require_private(folder)


def require_private(path: Path) -> None:
    """Raise StartError unless a file or folder belongs to this user, and no other user can read or write it."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        raise StartError(f"{path} is a symbolic link; expected a file or folder that belongs to uid {os.geteuid()}")
    if info.st_uid != os.geteuid():
        raise StartError(
            f"{path} belongs to uid {info.st_uid}; expected uid {os.geteuid()}",
            hint="set JOBWORKER_HOME to a folder of your own",
        )
    if info.st_mode & 0o077:
        mode = "700" if stat.S_ISDIR(info.st_mode) else "600"
        raise StartError(
            f"{path} has mode {stat.S_IMODE(info.st_mode):o}: others can reach it; expected {mode}",
            hint=f"chmod {mode} {path}",
        )


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically; the new one has mode 0600 from the start."""
    replace_private({path: data})


def replace_private(files: Mapping[Path, bytes]) -> None:
    """Replace files that belong together: all are on disk, with mode 0600, before the first one is renamed."""
    staged: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                staged[temporary] = path
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary in [*staged]:
            os.replace(temporary, staged[temporary])
            del staged[temporary]
        for folder in {path.parent for path in files}:  # else a power cut may bring the old file back
            sync_folder(folder)
    except OSError:
        for temporary in staged:
            os.unlink(temporary)
        raise


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to disk, so that creations, renames and removals survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that does not support it
            raise
    finally:
        os.close(fd)


def appendable(path: Path) -> str:
    """Return the file to which a process appends its output; /dev/null if the file cannot be opened."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError:
        return os.devnull
    return str(path)
