"""Read the journal that the keeper writes: what was launched, and how each launch ended.

The format is described in ``docs/reference/on-disk-formats.md``. Unknown fields are ignored; unknown events and
garbled lines are logged and skipped.
"""

import json
import logging
import os
from pathlib import Path
from typing import TypeAlias

import msgspec

from jobworker.linux import syscalls
from jobworker.model import Usage

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20  # read at once at most
USUAL_BYTES = 65536  # tried first: entries of a moment fit, and a larger buffer is pages of the kernel each time


class Entry(msgspec.Struct, tag_field="event", frozen=True):
    """What every entry has: `at`, the wall clock in ns."""

    at: int


class Opened(Entry, tag="opened", frozen=True):
    """A keeper began to write: `v` is the version of the entries that follow."""

    v: int
    pid: int
    boot: str


class Launching(Entry, tag="launching", frozen=True):
    """The keeper is about to launch; without another entry it is not known whether it did."""

    id: str
    group: str = ""
    namespace: bool = False


class Started(Entry, tag="started", frozen=True):
    """execve has succeeded. `start` is in ticks after boot, `boottime` in ns; `init` is pid 1 of its namespace."""

    id: str
    pid: int
    start: int
    boottime: int
    init: int = 0
    init_start: int = 0
    group: str | None = None  # the job's cgroup, "" if it got none after all; None: as in `launching`


class StartFailed(Entry, tag="start_failed", frozen=True):
    """The launch failed at `step`: `cwd`, `user`, `exec` or `setup`, for which `detail` has more."""

    id: str
    step: str
    errno: int
    detail: str = ""


class Ended(Entry, tag="ended", frozen=True):
    """The main process is gone, with a code or by a signal; `left`: others of its tree may live.

    `signalled`: the keeper had sent it a signal while it was alive.
    `oom`: the kernel killed it at its limit of memory.
    `usage`: what the job had used by then; None in the record of an older keeper.
    `by`: what else than the agent has ended it, from a runner's journal; `word`: how the engine of that calls it.
    `stdin_unread`: bytes of its input that it had not read, of `stdin_accepted`; None: it had none, or it is unknown.
    """

    id: str
    code: int | None
    signal: int | None
    boottime: int
    core: bool = False
    user: float = 0.0
    system: float = 0.0
    left: bool = False
    signalled: bool = msgspec.field(default=False, name="struck")
    oom: bool = False
    usage: Usage | None = None
    stdin_unread: int | None = None
    stdin_accepted: int | None = None
    by: str = ""
    word: str = ""


class InputEnd(Entry, tag="input_end", frozen=True):
    """The job takes no more input; `how`: `closed`, `broken`, `lost` or `failed`. `accepted`: bytes in all."""

    id: str
    how: str
    accepted: int | None = None


class Truncated(Entry, tag="truncated", frozen=True):
    """Output was discarded: the disk was full and the job was not to wait, or its log was full."""

    id: str


class Closed(Entry, tag="closed", frozen=True):
    """The last write end of the job's output is closed; `size` is its length, `first` the oldest byte kept."""

    id: str
    size: int
    truncated: bool = False
    first: int = 0


class Lost(Entry, tag="lost", frozen=True):
    """The main process is gone, and its exit status cannot be known."""

    id: str
    why: str


JournalEntry: TypeAlias = Launching | Started | StartFailed | Ended | InputEnd | Truncated | Closed | Lost
_decoder = msgspec.json.Decoder(Opened | JournalEntry)


def _decode_line(line: bytes) -> Opened | JournalEntry:
    """Return an entry; raise ValueError."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # perhaps a path that is not UTF-8: its bytes are escaped as lone surrogates
        return msgspec.convert(json.loads(line), Opened | JournalEntry)


class Journal:
    """A cursor over the journal; the agent stores `position` and `boot`.

    `boot` is the boot id under which the last entries that were read were written, "" if it is not known.
    """

    def __init__(self, path: Path, position: int = 0, boot: str = "") -> None:
        self.position = position
        self.boot = boot
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if (
            position and os.pread(self._fd, 1, position - 1) != b"\n"
        ):  # it is shorter, or has zeros there: the keeper will cut them off
            log.error("journal: %s has lost records that were read already; reading it again", path)
            self.position, self.boot = 0, ""
        if not self.position:
            self.position = _start_of_data(self._fd)

    def fileno(self) -> int:
        return self._fd

    def read(self, end: int | None = None) -> list[JournalEntry]:
        """Return the complete entries that were added, about 1 MiB at most, all of one boot; [] at the end.

        `end`: read no further than this byte.
        """
        while True:
            most = BLOCK_BYTES if end is None else min(BLOCK_BYTES, max(0, end - self.position))
            block = os.pread(self._fd, min(most, USUAL_BYTES), self.position)
            if len(block) == USUAL_BYTES < most:  # there is more
                block = os.pread(self._fd, most, self.position)
            if len(block) == BLOCK_BYTES and b"\n" not in block:  # a power cut can leave zeros in place of entries
                log.warning("journal: %d bytes at byte %d are no entries and are skipped", BLOCK_BYTES, self.position)
                self.position += BLOCK_BYTES
                continue
            records, used = self._decode(block[: block.rfind(b"\n") + 1])
            self.position += used
            if records or not used:
                return records

    def _decode(self, block: bytes) -> tuple[list[JournalEntry], int]:
        """Return the entries of one boot at the start of a block, and how many bytes they took."""
        if b'"opened"' not in block:  # almost always: all entries are of one boot
            try:
                entries = _decoder.decode_lines(block)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                entries = []  # the garbled line is found below
            if len(entries) == block.count(b"\n"):
                return entries, len(block)  # type: ignore[return-value]
        records: list[JournalEntry] = []
        used = 0
        for line in block.splitlines(keepends=True):
            try:
                record = _decode_line(line)
            except ValueError as error:
                log.warning("journal: the line at byte %d is skipped: %s", self.position + used, error)
            else:
                if not isinstance(record, Opened):
                    records.append(record)
                elif records and record.boot != self.boot:
                    break  # for the next call
                else:
                    self.boot = record.boot
            used += len(line)
        return records, used

    def forget(self, end: int) -> None:
        """Free the disk space of the entries before byte `end`, which no agent will need again; raise OSError.

        What comes after stays at its place, so all positions stay valid.
        """
        fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            syscalls.punch(fd, end)
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._fd)


def _start_of_data(fd: int) -> int:
    """Return where the first entry that is not forgotten may begin."""
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:  # it is empty, or the file system has no holes
        return 0
