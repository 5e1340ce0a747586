"""Make a state folder of a backup, on this host or another one, and check a backup."""

import mmap
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobworker import state_lock
from jobworker.backup.archive import JOURNAL, TABLE, BackupError, Member, members
from jobworker.errors import StartError, write_hint
from jobworker.jobs import snapshot
from jobworker.linux.proc import boot_id
from jobworker.paths import Home, sync_folder
from jobworker.private import make_private

SCRATCH = ".restoring"  # in the state folder, until all of it is there


class Restored(NamedTuple):
    """What was in a backup: its manifest, and counts."""

    manifest: dict[str, Any]
    jobs: int
    running: int  # at the time of the backup: they become lost
    files: int
    bytes: int


def restore(file: Path, home: Home) -> Restored:
    """Make the state folder of a backup, all of it or nothing; raise JobworkerError.

    The folder must be empty, or missing. What ran at the backup is lost when an agent starts on it.
    """
    made = not home.path.exists()
    make_private(home.path)
    with _locked(home), _removed_if_failed(home, made=made):
        scratch = home.path / SCRATCH
        scratch.mkdir(mode=0o700)
        done = _extract(file, scratch)
        _make_foreign(scratch, done.manifest)
        os.sync()  # once, in place of once for each file
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == TABLE):  # the table last
            path.rename(home.path / path.name)
        scratch.rmdir()
        sync_folder(home.path)
    return done


def verify(file: Path) -> Restored:
    """Read a whole backup, and write nothing but its job table, to a temporary file; raise BackupError."""
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch, TABLE)
        return _read(file, lambda name: table if name == TABLE else None, table)


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Keep agents from the state folder; raise StartError unless it is empty."""
    if any(path.name != "agent.lock" for path in home.path.iterdir()):
        locks = home.open_locks()
        runs = any(state_lock.holder(fd) is not None for fd in locks)
        for fd in locks:
            os.close(fd)
        what = "an agent runs on this state folder" if runs else "this state folder is not empty"
        hint = (
            f"jw agent stop, then move {home.path} away" if runs else "--home DIR, a folder that is empty or missing"
        )
        raise StartError(f"{home.path}: {what}, and nothing was restored", hint=hint)
    lock = home.path / "agent.lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not state_lock.lock(fd):
            raise StartError(f"{home.path}: an agent runs on this state folder, and nothing was restored")
        yield
        lock.unlink()
    finally:
        os.close(fd)


@contextmanager
def _removed_if_failed(home: Home, *, made: bool) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        shutil.rmtree(home.path / SCRATCH, ignore_errors=True)
        (home.path / "agent.lock").unlink(missing_ok=True)
        if made:
            home.path.rmdir()
        if isinstance(error, OSError):
            text = f"{home.path}: {error.strerror}: nothing was restored"
            raise StartError(text, hint=write_hint(home.path, error.errno)) from error
        raise


def _extract(file: Path, folder: Path) -> Restored:
    return _read(file, lambda name: folder / name, folder / TABLE)


def _read(file: Path, place: Any, table: Path) -> Restored:
    """Read all members, and write those that `place` returns a path for; raise BackupError."""
    manifest: dict[str, Any] = {}
    names, count = set(), 0
    try:
        for member in members(file):
            if isinstance(member, dict):
                manifest = member
                continue
            names.add(member.name)
            count += member.size
            if (path := place(member.name)) is not None:
                _write(member, path)
    except OSError as error:
        if error.filename == str(file):
            raise BackupError(f"{file}: {error.strerror}") from error
        raise
    if TABLE not in names:
        raise BackupError(f"{file} has no job table: this is no backup of jobworker")
    return Restored(manifest, snapshot.check(table), snapshot.running(table), len(names), count)


def _write(member: Member, path: Path) -> None:
    """Write a file with its holes, 0600 from its birth. No file is there yet, and no name leads out of the folder."""
    for above in (path.parent.parent, path.parent):  # `parents=True` would give the upper one another mode
        above.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for at, data in member.blocks:
            done = 0
            while done < len(data):
                done += os.pwrite(fd, memoryview(data)[done:], at + done)
        os.ftruncate(fd, member.size)
    finally:
        os.close(fd)


def _make_foreign(folder: Path, manifest: dict[str, Any]) -> None:
    """Have no process of this host be taken for one of the backup: it may be of this host, and of this boot."""
    boot, other = boot_id(), str(uuid.uuid4())
    host, time = (str(manifest.get(name, "?"))[:80] for name in ("host", "created"))
    why = f"it ran on {host} at {time}, when the backup was made that this agent was restored from"
    snapshot.make_foreign(folder / TABLE, why, boot, other)
    journal = folder / JOURNAL
    if not journal.exists() or not journal.stat().st_size:
        return
    with open(journal, "r+b") as file, mmap.mmap(file.fileno(), 0) as text:
        at = text.find(boot.encode())
        while at >= 0:
            text[at : at + len(boot)] = other.encode()
            at = text.find(boot.encode(), at)
