"""The paths of the state folder, its files, and the folder for sockets and FIFOs.

``docs/reference/on-disk-formats.md`` describes each file.
"""

import contextlib
import errno
import os
from pathlib import Path

from jobworker.errors import StartError
from jobworker.private import make_private, make_trusted, sync
from jobworker.run_folder import is_ours, is_usable, run_folders


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
    except FileNotFoundError:
        raise StartError(
            f"{path}: is relative to the current folder, which was removed", hint="cd to a folder that exists"
        ) from None


class Home:
    """The state folder and the paths in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"  # of the local agent, if the user wrote one
        self.address = path / "agent.json"  # address and pid of the listening agent
        self.revoked = path / "tls" / "revoked"  # fingerprints of revoked client certificates
        self.agent_log = path / "agent.log"  # of a local agent; another one logs to its stderr
        self.keeper_log = path / "keeper.log"  # the stderr of keeper and pump
        self.audit = path / "audit.log"  # logins, refusals and changes
        self.journal = path / "journal"  # launches and exits, written by the keeper alone
        self.database = path / "jobs.db"  # the job table, in SQLite
        self.logs = path / "logs"  # a folder for each job that has written something
        self.input = path / "input"  # two files for each job with input, while it is open
        self.tokens = path / "tokens.json"  # hashes of the bearer tokens
        self.page_sessions = path / "page-sessions.json"  # hashes of the secrets of pages in browsers
        self.uids = path / "uids.json"  # the principals that have a uid of their own
        self.local_token = path / "local.token"  # an admin's token, for `jw` on this host
        self.tls = path / "tls"  # the agent's own CA and certificate
        self.copied_from = ""  # the state folder of which this one is a copy that no agent has taken over yet

    def create(self) -> None:
        """Create the folder; raise StartError if it exists and others can reach it."""
        make_private(self.path)
        make_trusted(self.logs)
        make_trusted(self.input)

    def read_only(self) -> bool:
        """Whether the state folder is read-only, as after an error of its disk."""
        return bool(os.statvfs(self.path).f_flag & os.ST_RDONLY)

    def open_locks(self, *, create: bool = False) -> list[int]:
        """Open the files whose locks the agent holds for its life: the one in the state folder is the first.

        It holds for everyone who reaches the folder; the other also while the state folder can only be read. Without
        `create`, those of every run folder that this user may have: another environment may have chosen another one.
        """
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        locks = []
        run = [self.create_run_folder()] if create else [place for place in self.run_folders() if is_ours(place)]
        for folder in (self.path, *run):
            try:
                locks.append(os.open(folder / "agent.lock", flags, 0o600))
            except FileNotFoundError:
                if create and folder != self.path:  # a keeper that left has removed the folder in this moment
                    locks.append(os.open(self.create_run_folder() / "agent.lock", flags, 0o600))
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
        return locks

    def run_folders(self) -> list[Path]:
        """Return the places for the run folder, the best first."""
        return run_folders(self.path)

    def run_folder(self) -> Path:
        """Return the first place for sockets and FIFOs that is ours or can be made; it need not be there yet."""
        places = self.run_folders()
        return next(filter(is_usable, places), places[-1])

    def create_run_folder(self) -> Path:
        """Make the run folder at the first place that is ours or free; raise StartError if there is none."""
        for folder in filter(is_usable, self.run_folders()):
            with contextlib.suppress(StartError):  # taken by another user in this moment
                make_private(folder)
                return folder
        folder = self.run_folder()
        make_private(folder)
        return folder


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to disk, so that creations, renames and removals survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def appendable(path: Path) -> str:
    """Return the file to which a process appends its output; /dev/null if the file cannot be opened."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError:
        return os.devnull
    return str(path)
