"""The folder of a job that an executor runs, from the agent's side. All functions block."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jobworker.formats import job_folder
from jobworker.host.journal import Entry, JournalEntry, Opened
from jobworker.jobs.identity import Identity
from jobworker.linux.beneath import open_beneath

log = logging.getLogger(__name__)

LAST_BYTES = 300  # of what a runner has printed
PARTS = (job_folder.CONTROL, job_folder.ANSWERS, job_folder.LOGS)


class Gone(Entry, tag="gone", frozen=True):
    """The runner has seen the end of all processes of the job; `killed`: how many it had to kill itself."""

    id: str
    proof: str = ""
    killed: int = 0
    by: str = ""


_decode = msgspec.json.Decoder(Opened | JournalEntry | Gone).decode


class Look(NamedTuple):
    """What a folder had at one look."""

    entries: list[JournalEntry | Gone]  # of the journal, those that are new
    lines: int  # of the journal in all, read so far
    boot: str  # of the node, from `opened`; "": it is in no line that is new
    beat: int | None  # the runner's counter; None: there is none yet
    usage: dict[str, Any]  # of the heartbeat
    claim: dict[str, Any] | None  # None: the job is not claimed
    logged: int  # bytes of the log's index


def make(folder: str, launch: dict[str, Any], user: Identity | None) -> None:
    """Make the folder with what to run, for the job's user; raise OSError."""
    owner = None if user is None or os.geteuid() != 0 else (user.uid, user.gid)
    for path in (folder, *(f"{folder}/{part}" for part in PARTS)):
        os.mkdir(path, 0o700)
        if owner is not None:
            os.chown(path, *owner, follow_symlinks=False)
    job_folder.write_launch(folder, launch, owner=owner)


def link_log(log: Path, folder: str) -> None:
    """Make the job's log appear among those of the agent, as `log`; raise OSError."""
    log.parent.mkdir(mode=0o700, exist_ok=True)
    log.symlink_to(f"{folder}/{job_folder.LOGS}/{log.name}")


def remove(folder: str) -> None:
    """Remove the folder of a job that is deleted."""
    shutil.rmtree(folder, ignore_errors=True)


def has_begun(folder: str) -> bool:
    """Whether a runner has written into the folder."""
    return os.path.exists(f"{folder}/{job_folder.JOURNAL}")


def look(folder: str, job: str, lines: int) -> Look:
    """Read what is new in a folder of whose journal so many lines were read before; raise OSError.

    The folder is listed first: on a network file system a name may be remembered as absent.
    """
    names = set(os.listdir(folder))
    entries: list[JournalEntry | Gone] = []
    boot, read = "", lines
    if job_folder.JOURNAL in names:
        entries, boot, read = _journal(f"{folder}/{job_folder.JOURNAL}", lines)
    heartbeat = (job_folder.read_heartbeat(folder) if job_folder.HEARTBEAT in names else None) or {}
    claim = job_folder.read_claim(folder) if job_folder.CLAIM in names else None
    beat, usage = heartbeat.get("n"), heartbeat.get("usage")
    beat = beat if isinstance(beat, int) else None
    return Look(entries, read, boot, beat, usage if isinstance(usage, dict) else {}, claim, _logged(folder, job))


def _journal(path: str, lines: int) -> tuple[list[JournalEntry | Gone], str, int]:
    """Return the entries after so many lines, the boot id of the node if they have it, and the lines in all."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        whole = file.read().split(b"\n")[:-1]
    entries: list[JournalEntry | Gone] = []
    boot = ""
    for number, line in enumerate(whole[lines:], lines):
        try:
            entry = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s: line %d is skipped: %s", path, number + 1, error)
            continue
        if isinstance(entry, Opened):
            boot = entry.boot
        else:
            entries.append(entry)
    return entries, boot, max(lines, len(whole))


def _logged(folder: str, job: str) -> int:
    try:
        return os.lstat(f"{folder}/{job_folder.LOGS}/{job}/index").st_size
    except OSError:
        return 0


def last_words(folder: str) -> str:
    """Return the last line that the runner or the engine's script has printed; "" if there is none."""
    try:
        fd = os.open(f"{folder}/{job_folder.RUNNER_LOG}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(fd).st_size
        lines = os.pread(fd, LAST_BYTES, max(0, size - LAST_BYTES)).decode(errors="replace").split("\n")
    except OSError:
        return ""  # a folder, or a pipe
    finally:
        os.close(fd)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(char if char.isprintable() else "?" for char in last)


def claim(folder: str, tag: str) -> bool:
    """Claim the job for the agent, so that no runner can start it; return False if one has. Raise OSError."""
    try:
        job_folder.write_claim(folder, {"tag": tag, "by": "agent"})
    except FileExistsError:
        claimed = job_folder.read_claim(folder) or {}
        return claimed.get("by") == "agent"
    return True


def command(folder: str, command: dict[str, Any], user: Identity | None) -> int:
    """Give the runner a command; return its number. Raise OSError.

    No link is followed: the folder belongs to the job's user, and this may be root.
    """
    base = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        control = open_beneath(base, job_folder.CONTROL, os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(base)
    try:
        stems = (name.removesuffix(job_folder.SUFFIX) for name in os.listdir(control))
        number = max((int(stem) for stem in stems if stem.isascii() and stem.isdigit()), default=0) + 1
        draft = f".{number}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(draft, flags, 0o600, dir_fd=control), "wb") as file:
            if user is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), user.uid, user.gid)
            file.write(job_folder.encode(command))
        os.rename(draft, f"{number}{job_folder.SUFFIX}", src_dir_fd=control, dst_dir_fd=control)
    finally:
        os.close(control)
    return number
