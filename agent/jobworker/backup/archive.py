"""The file of a backup: a tar archive, compressed with gzip, whose members are known and have digests.

`docs/reference/on-disk-formats.md` describes it.
"""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from jobworker.errors import JobworkerError
from jobworker.jobs.record import is_id

FORMAT = 1
MANIFEST, CHECKSUMS = "manifest.json", "checksums.json"  # the first member and the last
TABLE, JOURNAL, LOGS = "jobs.db", "journal", "logs"
SEGMENTS = "JOBWORKER.segments"  # a pax header of a file with holes: START+BYTES of each part, then its whole size
LOG_FILES = {"index", "out", "err", "first", "read", "sizes"}
STATE_FILES = {"config.toml", "tokens.json", "tokens.used.json", "uids.json", JOURNAL, TABLE}
TLS_FILES = {"ca.pem", "ca.key", "server.pem", "server.key", "revoked"}
AUDIT = re.compile(r"audit\.log(\.[0-9]{1,6})?")
MAX_JSON_BYTES = 1 << 30  # of a manifest, and of the digests of some million files
COMPRESSION = 1  # of gzip: logs shrink nearly as much as with 6, in a third of the time
BLOCK_BYTES = 1 << 20
Segments = Sequence[tuple[int, int]]  # start and size of each part of a file that has data


class BackupError(JobworkerError):
    """A file that is no backup, or a damaged one."""


def is_known(name: str) -> bool:
    """Whether a backup may have a member of this name: no other is written to a state folder."""
    first, *rest = name.split("/")
    if not rest:
        return name in STATE_FILES or AUDIT.fullmatch(name) is not None
    if first == "tls":
        return len(rest) == 1 and rest[0] in TLS_FILES
    return first == LOGS and len(rest) == 2 and is_id(rest[0]) and rest[1] in LOG_FILES


def segments_of(fd: int, size: int) -> Segments:
    """Return the parts of a file that are no holes, up to `size`; raise OSError."""
    found, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError:  # beyond the last data (ENXIO), or a file system that does not know holes
            break
        if start < size:
            found.append((start, end - start))
        at = max(end, start)
    return found


class _Content:
    """Reads the parts of a file one after the other, then bytes that take the place of its end; adds up a digest."""

    def __init__(self, fd: int, segments: Segments, tail: bytes = b"") -> None:
        self._fd = fd
        self._left = [*segments]
        self._tail = tail
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        parts = []
        while size and (part := self._next(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        self.digest.update(data)
        return data

    def _next(self, size: int) -> bytes:
        if not self._left:
            part, self._tail = self._tail[:size], self._tail[size:]
            return part
        start, length = self._left[0]
        part = os.pread(self._fd, min(size, length), start) or bytes(min(size, length))  # it was cut off meanwhile
        self._left[0] = (start + len(part), length - len(part))
        if len(part) == length:
            self._left.pop(0)
        return part


class Writer:
    """Adds members to a backup, each once, and at its end their digests."""

    def __init__(self, raw: BinaryIO, manifest: dict[str, Any]) -> None:
        self._packed = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=COMPRESSION, filename="")
        self._tar = tarfile.TarFile(fileobj=self._packed, mode="w", format=tarfile.PAX_FORMAT)
        self._digests: dict[str, str] = {}
        self.add_bytes(MANIFEST, json.dumps({"format": FORMAT, **manifest}).encode())

    def add_bytes(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        _forget(self._tar)
        self._digests[name] = hashlib.sha256(data).hexdigest()

    def add_file(self, name: str, fd: int, size: int, tail: bytes = b"") -> None:
        """Add the first `size` bytes of a file, then `tail`; its holes take no room. Raises OSError."""
        segments = segments_of(fd, size)
        whole = [(0, size)] if size else []
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = 0o600, int(os.fstat(fd).st_mtime)
        info.size = sum(length for _, length in segments) + len(tail)
        if [*segments] != whole:
            parts = [f"{start}+{length}" for start, length in segments]
            parts += [f"{size}+{len(tail)}"] if tail else []
            info.pax_headers = {SEGMENTS: " ".join([*parts, str(size + len(tail))])}
        content = _Content(fd, segments, tail)
        self._tar.addfile(info, content)  # type: ignore[arg-type]  # it is only read
        _forget(self._tar)
        self._digests[name] = content.digest.hexdigest()

    def close(self) -> None:
        digests = json.dumps(self._digests).encode()
        self.add_bytes(CHECKSUMS, digests)
        self._tar.close()
        self._packed.close()


class Member:
    """One file of a backup, whose content can be read once."""

    def __init__(self, name: str, segments: Segments, size: int, content: Any) -> None:
        self.name = name
        self.size = size  # of the file, with its holes
        self.digest = hashlib.sha256()
        # Yields the data with the position of each block; raises BackupError.
        self.blocks: Iterator[tuple[int, bytes]] = self._read(segments, content)

    def _read(self, segments: Segments, content: Any) -> Iterator[tuple[int, bytes]]:
        for start, length in segments:
            at, end = start, start + length
            while at < end:
                with _readable():
                    data = content.read(min(BLOCK_BYTES, end - at))
                if not data:
                    raise BackupError(f"the backup ends within {self.name}: it is not complete")
                self.digest.update(data)
                yield at, data
                at += len(data)


def members(file: Path) -> Iterator[Member | dict[str, Any]]:
    """Yield the manifest of a backup, then its members, each to be read before the next; verify all digests.

    Raises BackupError, at the end at the latest, for a file that is not as it was written; and OSError.
    """
    digests: dict[str, str] = {}
    expected: dict[str, str] | None = None
    with open(file, "rb") as raw, _readable(), tarfile.open(fileobj=raw, mode="r|*") as tar:
        for info in _entries(tar):
            if expected is not None:
                raise BackupError(f"{info.name[:80]!r} comes after the digests: this is no backup of jobworker")
            if not info.isreg() or info.name in digests:
                raise BackupError(f"{info.name[:80]!r} is no file, or there twice; expected each file once")
            content = tar.extractfile(info)
            if not digests:
                if info.name != MANIFEST:
                    raise BackupError(f"{file} is no backup of jobworker: it begins with {info.name[:80]!r}")
                data = _small(info, content)
                digests[info.name] = hashlib.sha256(data).hexdigest()
                yield _manifest(file, data)
            elif info.name == CHECKSUMS:
                expected = _json(info.name, _small(info, content))
            elif is_known(info.name):
                member = Member(info.name, *_layout(info), content)
                yield member
                for _ in member.blocks:  # what the caller has not read
                    pass
                digests[info.name] = member.digest.hexdigest()
            else:
                raise BackupError(f"{info.name[:80]!r} is no file of a state folder; nothing of it is restored")
    if expected is None:
        raise BackupError(f"{file} ends too early: the digests of its files are missing")
    if expected != digests:
        wrong = sorted(name for name in {*expected, *digests} if expected.get(name) != digests.get(name))
        raise BackupError(f"{file} is damaged: {', '.join(wrong[:3])} differ from what was written")


def _entries(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := tar.next()) is not None:
        yield info
        _forget(tar)


def _forget(tar: tarfile.TarFile) -> None:
    """Empty the list of all members: it would grow by a kilobyte for each."""
    tar.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it


def _layout(info: tarfile.TarInfo) -> tuple[Segments, int]:
    """Return the parts of a file and its size; raise BackupError for parts that overlap or do not fit its data."""
    text = info.pax_headers.get(SEGMENTS)
    if text is None:
        return ([(0, info.size)] if info.size else []), info.size
    try:
        *parts, whole = text.split()
        segments = [(int(start), int(length)) for start, length in (part.split("+") for part in parts)]
        size, at = int(whole), 0
        for start, length in segments:
            if start < at or length < 0:
                raise ValueError
            at = start + length
        if at > size or sum(length for _, length in segments) != info.size:
            raise ValueError
    except ValueError:
        raise BackupError(f"{info.name}: its parts {text[:80]!r} do not fit its {info.size} bytes") from None
    return segments, size


def _small(info: tarfile.TarInfo, content: Any) -> bytes:
    if info.size > MAX_JSON_BYTES:
        raise BackupError(f"{info.name} has {info.size} bytes; expected {MAX_JSON_BYTES} at most")
    return bytes(content.read())


def _manifest(file: Path, data: bytes) -> dict[str, Any]:
    manifest = _json(MANIFEST, data)
    number = manifest.get("format")
    if not isinstance(number, int) or number > FORMAT:
        hint = f"use jobworker {str(manifest.get('version'))[:40]}, which wrote it, or a later one"
        raise BackupError(f"{file} is a backup of format {number!r:.40}; expected at most {FORMAT}", hint=hint)
    return manifest


def _json(name: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BackupError(f"{name} is no JSON object: this is no backup of jobworker")
    return found


@contextmanager
def _readable() -> Iterator[None]:
    """Raise what reading a damaged archive raises as a BackupError."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BackupError(f"this is no backup of jobworker, or a part of one: {error}") from error
