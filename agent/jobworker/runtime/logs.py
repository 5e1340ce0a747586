"""Read a job's log by absolute offset: the files that the pump writes, as far as the index covers them.

The format is described in ``agent/README.md``.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

RECORD = struct.Struct("<QQQIBB2x")  # time ns, offset in the log, position in its stream, length, stream, gap
FILES = ("out", "err")
STDERR = 1
CHUNK = 65536
BATCH = 128  # index records read at once


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of one stream that stand together in the log; `time` (ns) is when the first arrived."""

    offset: int
    stream: int
    time: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that the job has written and the log does not hold."""

    offset: int
    end: int


class LogReader:
    """The open files of one log. Any number of cursors may read through it, it keeps no position."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)  # opened often, and in vain while the job is silent: text is quicker
        self._index = -1
        self._files: list[int] = []

    def _open(self) -> bool:
        """Return False while the job has said nothing: there are no files before the first byte."""
        if self._index >= 0:
            return True
        try:
            index = os.open(f"{self._folder}/index", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        files: list[int] = []
        try:
            for name in FILES:
                files.append(os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:  # the pump is about to create them
            for fd in (index, *files):
                os.close(fd)
            return False
        self._index, self._files = index, files
        return True

    def close(self) -> None:
        for fd in (self._index, *self._files):
            if fd >= 0:
                os.close(fd)
        self._index, self._files = -1, []

    def size(self) -> int:
        """Return the end of what is covered: the offset that the next byte will have."""
        return self.last_arrival()[0]

    def last_arrival(self) -> tuple[int, int]:
        """Return the end of what is covered and when the last of it arrived (ns); zeros where there is nothing."""
        if not self._open():
            return 0, 0
        count = os.fstat(self._index).st_size // RECORD.size
        if not count:
            return 0, 0
        time, offset, _, length, _, _ = self._record(count - 1)
        return offset + length, time

    def tail(self, stream: int, limit: int) -> bytes:
        """Return the last bytes of a stream, at most `limit`, without what a gap left out."""
        if not self._open():
            return b""
        size = os.fstat(self._files[stream]).st_size
        return os.pread(self._files[stream], limit, max(0, size - limit)).replace(b"\0", b"")

    def _record(self, number: int) -> tuple[int, int, int, int, int, int]:
        return RECORD.unpack(os.pread(self._index, RECORD.size, number * RECORD.size))

    def _find(self, offset: int) -> int:
        """Return the number of the record that covers the offset, or the count where none does yet."""
        low, high = 0, os.fstat(self._index).st_size // RECORD.size
        while low < high:
            middle = (low + high) // 2
            _, start, _, length, _, _ = self._record(middle)
            if start + length <= offset:
                low = middle + 1
            else:
                high = middle
        return low

    def read(self, offset: int, limit: int = CHUNK) -> Chunk | Gap | None:
        """Return the bytes from `offset` on, of one stream and at most `limit`; None at the end."""
        if not self._open():
            return None
        number = self._find(offset)
        block = os.pread(self._index, RECORD.size * BATCH, number * RECORD.size)
        records = RECORD.iter_unpack(block[: len(block) - len(block) % RECORD.size])
        first = next(records, None)
        if first is None:
            return None
        time, start, position, length, stream, gap = first
        if gap:
            return Gap(offset, start + length)
        position += offset - start
        length -= offset - start
        for _, _, _, more, same, gap in records:
            if same != stream or gap or length >= limit:
                break
            length += more
        data = os.pread(self._files[stream], min(length, limit), position)
        return Chunk(offset, stream, time, data) if data else None
