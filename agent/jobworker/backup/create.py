"""Write a backup of a state folder. The agent on it, if one runs, goes on, and does not notice."""

import os
import socket
import tempfile
import time
from binascii import crc32
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from jobworker import __version__
from jobworker.backup.archive import AUDIT, JOURNAL, LOGS, TABLE, Writer
from jobworker.errors import JobworkerError, StartError, write_hint
from jobworker.formats.log_index import FIRST, RECORD
from jobworker.jobs import snapshot
from jobworker.linux.beneath import open_in_log
from jobworker.logs.reader import MAX_TRIES, LogReader, Record
from jobworker.paths import Home, sync_folder
from jobworker.units import rfc3339

DELETION_SECONDS = 2.0  # from the removal of a log to that of its record, at most


class Written(NamedTuple):
    """What is in a backup."""

    jobs: int
    running: int  # that had not ended
    log_bytes: int
    bytes: int  # of the file


def create(home: Home, file: Path, *, logs: bool, keys: bool, config: Path | None = None) -> Written:
    """Write a backup in place of `file`, all of it or nothing; raise JobworkerError.

    `logs`: with the logs of the jobs; `keys`: with the CA and the private keys. `config` takes the place of the
    configuration in the state folder.
    """
    _require_ours(home)
    settings = None if config is None else _read(config)
    file = file.absolute()
    with _writable(file), tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as scratch:
        table, packed = Path(scratch, TABLE), Path(scratch, "backup")
        snapshot.copy(home.database, table)  # first: whatever it has of journal and logs is in those by then
        with open(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as raw:
            made = {"created": rfc3339(time.time_ns()), "version": __version__, "host": socket.gethostname()}
            writer = Writer(raw, made | {"state": str(home.path), "logs": logs, "keys": keys})
            _add(writer, JOURNAL, home.journal)
            log_bytes = _add_logs(writer, home, table) if logs else 0
            _add_state(writer, home, settings, keys=keys)
            _add(writer, TABLE, table)
            writer.close()
            raw.flush()
            os.fsync(raw.fileno())
            size = os.fstat(raw.fileno()).st_size
        jobs, running = snapshot.check(table), snapshot.running(table)
        os.replace(packed, file)
        sync_folder(file.parent)
    return Written(jobs, running, log_bytes, size)


def _require_ours(home: Home) -> None:
    """Raise StartError unless the state folder is of this user: SQLite would leave files of another one in it."""
    try:
        owner = home.path.stat().st_uid
        home.database.stat()
    except OSError as error:
        hint = "set JOBWORKER_HOME to the state folder of the agent"
        raise StartError(f"{error.filename}: {error.strerror}: there is nothing to back up", hint=hint) from None
    if owner != os.geteuid():
        hint = f"sudo -u '#{owner}' jw agent backup FILE"
        raise StartError(f"{home.path} belongs to uid {owner}; expected uid {os.geteuid()}", hint=hint)


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise StartError(f"--config {config}: {error.strerror}: no backup was written") from error


@contextmanager
def _writable(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"{file}: {error.strerror}: no backup was written"
        raise JobworkerError(text, hint=write_hint(file.parent, error.errno)) from error


def _add(writer: Writer, name: str, path: Path) -> None:
    """Add a file as long as it is now, if it is there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        writer.add_file(name, fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _add_state(writer: Writer, home: Home, config: bytes | None, *, keys: bool) -> None:
    if config is not None:
        writer.add_bytes("config.toml", config)
    else:
        _add(writer, "config.toml", home.config)
    for path in (home.tokens, home.tokens.with_suffix(".used.json"), home.uids):
        _add(writer, path.name, path)
    # Without the key of the CA, its certificate is of no use to an agent: the next one makes a CA of its own.
    for name in ("revoked", *(("ca.pem", "ca.key", "server.pem", "server.key") if keys else ())):
        _add(writer, f"tls/{name}", home.tls / name)
    _add_audit(writer, home)


def _add_audit(writer: Writer, home: Home) -> None:
    """Add the files of the audit log, the newest first; the agent may rename them meanwhile."""
    found = sorted(home.path.glob("audit.log*"), key=lambda path: (len(path.name), path.name))
    with ExitStack() as stack:
        files: dict[int, int] = {}  # a descriptor by inode
        for path in filter(lambda path: AUDIT.fullmatch(path.name), found):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            stack.callback(os.close, fd)
            files.setdefault(os.fstat(fd).st_ino, fd)
        for number, fd in enumerate(files.values()):
            name = home.audit.name + (f".{number}" if number else "")
            writer.add_file(name, fd, os.fstat(fd).st_size)


def _add_logs(writer: Writer, home: Home, table: Path) -> int:
    """Add the logs of all jobs of the table, and drop from it jobs that are deleted meanwhile; return their bytes."""
    total, gone = 0, set()
    missing = []  # jobs whose log is not there: they have written nothing, or are being deleted
    for job, kept in snapshot.jobs(table):
        folder = home.logs / job
        size = _add_log(writer, folder, job)
        total += size
        if not folder.exists():
            if size:
                gone.add(job)
            elif kept:
                missing.append(job)
    end = time.monotonic() + DELETION_SECONDS
    while gone != {*gone, *missing} and time.monotonic() < end:
        gone |= snapshot.without(home.database, missing)
        time.sleep(0.1)
    snapshot.forget(table, gone)
    return total


def _add_log(writer: Writer, folder: Path, job: str) -> int:
    """Add a log as far as its index covers it now; return the bytes of its streams.

    The streams only grow, and what a bounded log drops meanwhile becomes zeros: `first` has which, and is read last.
    """
    with ExitStack() as stack:
        files: dict[str, int] = {}
        for name in ("index", "out", "err", "sizes"):
            try:
                files[name] = open_in_log(str(folder), name, os.O_RDONLY)
            except FileNotFoundError:
                continue
            stack.callback(os.close, files[name])
        found = _last(files["index"]) if {"index", "out", "err"} <= files.keys() else None
        if found is None:
            return 0
        number, last = found
        sizes = {name: os.fstat(fd).st_size for name, fd in files.items()}
        total = 0
        for name in ("out", "err"):
            writer.add_file(f"{LOGS}/{job}/{name}", files[name], sizes[name])
            total += sizes[name]
        end = RECORD.pack(*last)  # it may be dropped meanwhile
        writer.add_file(f"{LOGS}/{job}/index", files["index"], number * RECORD.size, end)
        if "sizes" in files:
            writer.add_file(f"{LOGS}/{job}/sizes", files["sizes"], sizes["sizes"])
        reader = LogReader(folder)
        record, offset = reader.kept()
        reader.close()
        if record or offset:
            if record > number or offset > last.end:
                record, offset = number, last.end  # all that was copied was dropped meanwhile
            check = crc32(FIRST.pack(record, offset, 0)[:16])
            writer.add_bytes(f"{LOGS}/{job}/first", FIRST.pack(record, offset, check) * 2)
        return total


def _last(index: int) -> tuple[int, Record] | None:
    """Return the number of the last record of an index, and the record; None if there is none."""
    for _ in range(MAX_TRIES):
        number = os.fstat(index).st_size // RECORD.size - 1
        if number < 0:
            break
        record = Record._make(RECORD.unpack(os.pread(index, RECORD.size, number * RECORD.size)))
        if record.length:  # else it was dropped since: there are newer ones
            return number, record
    return None
