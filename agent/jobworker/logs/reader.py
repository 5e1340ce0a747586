"""Read a job's log by absolute offset: the files that the pump writes, as far as the index covers them.

The format is described in ``docs/reference/on-disk-formats.md``.
"""

import errno
import os
from binascii import crc32
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jobworker.formats.log_index import FIRST, NO_ROOM, POWER_CUT, RECORD, REFUSED, STREAMS
from jobworker.linux.beneath import open_in_log

STREAM_AT = 28  # where a record has its stream, in bytes
GAP_AT = 29
BOTH = (0, 1)  # both streams
STDERR = 1
CHUNK_BYTES = 65536
NOWHERE = (-1, -1)
BATCH_RECORDS = 128  # index records that are read at once
SCANNED_RECORDS = 16384  # the same, to look for a time
MAX_TRIES = 10  # to read records that a bounded log drops meanwhile
REASONS = {NO_ROOM: "disk_full", REFUSED: "refused", POWER_CUT: "power_cut"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Contiguous bytes of one stream; `time` (ns) is when the first of them arrived."""

    offset: int
    stream: int
    time: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that the job has written and that are not in the log.

    `reason`: "dropped", as the oldest, to make room; "refused", the log was full; "disk_full";
    "power_cut", they had not reached the disk.
    """

    offset: int
    end: int
    reason: str


class Record(NamedTuple):
    """One arrival, as the index has it."""

    time: int
    offset: int
    position: int
    length: int
    stream: int
    gap: int

    def at(self, stream: int) -> int:
        """Return how many bytes of a stream had arrived before this record."""
        return self.position if stream == self.stream else self.offset - self.position

    @property
    def end(self) -> int:
        return self.offset + self.length


class LogReader:
    """The open files of one log. Any number of cursors may read through it.

    A read that begins where the last one ended needs no search in the index: reading a whole log is nothing else.

    What a bounded log drops becomes zeros, in the index as in the streams. The file `first` is updated before that,
    so it has to be read only when a zero is found: never for a log that drops nothing.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = os.fspath(folder)  # as text, which opens faster: a silent job's log is looked for often
        # Descriptors; -1 and [] while they are not open.
        self._index = -1
        self._files: list[int] = []
        self._first = -1
        self._ended = NOWHERE  # the offset at which the last chunk ended, and the number of the next record

    def open(self) -> bool:
        """Open the files; return False while the job is silent: there are no files before its first byte."""
        if self._index >= 0:
            return True
        try:
            index = open_in_log(self._folder, "index", os.O_RDONLY)
        except FileNotFoundError:
            return False
        files: list[int] = []
        try:
            for name in STREAMS:
                files.append(open_in_log(self._folder, name, os.O_RDONLY))
        except FileNotFoundError:  # the pump creates them right after the index
            for fd in (index, *files):
                os.close(fd)
            return False
        self._index, self._files = index, files
        return True

    def close(self) -> None:
        for fd in (self._index, self._first, *self._files):
            if fd >= 0:
                os.close(fd)
        self._index, self._first, self._files = -1, -1, []

    # First and last

    def size(self) -> int:
        """Return the end of the log: the offset that the next byte will have."""
        return self.last_arrival()[0]

    def last_arrival(self) -> tuple[int, int]:
        """Return the end of the log and when its last bytes arrived (ns); zeros for an empty log."""
        last = self.last_record()
        return (last.end, last.time) if last is not None else (0, 0)

    def last_record(self) -> Record | None:
        """Return the last record; None for an empty log. It is never dropped, until it is no longer the last."""
        for _ in range(MAX_TRIES):
            if not self.open() or not (count := self.count()):
                break
            if (last := self.record(count - 1)).length:
                return last
        return None

    def first(self) -> int:
        """Return the offset of the oldest byte that is still there."""
        return self.kept()[1]

    def first_record(self) -> int:
        """Return the number of the oldest record of which bytes are kept."""
        return self.kept()[0]

    def kept(self) -> tuple[int, int]:
        """Return the number of the oldest record of which bytes are kept, and the offset of the first of them.

        Of two copies in the file the newer intact one.
        """
        if self._first < 0:
            try:
                self._first = open_in_log(self._folder, "first", os.O_RDONLY)
            except FileNotFoundError:
                return 0, 0
        data = os.pread(self._first, 2 * FIRST.size, 0)
        copies = [data[at : at + FIRST.size] for at in (0, FIRST.size) if at + FIRST.size <= len(data)]
        unpacked = [(crc32(copy[:16]), *FIRST.unpack(copy)) for copy in copies]
        return max([(number, offset) for right, number, offset, check in unpacked if check == right], default=(0, 0))

    def read_at(self, stream: int, start: int, end: int) -> bytes:
        """Return the bytes of a stream between two positions in its file; fewer if the file ends before."""
        return os.pread(self._files[stream], end - start, start) if self.open() else b""

    def stream_size(self, stream: int) -> int:
        """Return the bytes in the file of a stream."""
        return os.fstat(self._files[stream]).st_size if self.open() else 0

    def next_data(self, stream: int, position: int, end: int) -> int:
        """Return the position of the next bytes of a stream that are not in a hole of its file, at most `end`."""
        try:
            return min(end, os.lseek(self._files[stream], position, os.SEEK_DATA))
        except OSError as error:
            return end if error.errno == errno.ENXIO else position

    # The index

    def count(self) -> int:
        return os.fstat(self._index).st_size // RECORD.size

    def record(self, number: int) -> Record:
        return Record._make(RECORD.unpack(os.pread(self._index, RECORD.size, number * RECORD.size)))

    def _batch(self, number: int) -> bytes:
        block = os.pread(self._index, RECORD.size * BATCH_RECORDS, number * RECORD.size)
        return block[: len(block) - len(block) % RECORD.size]

    def find(self, offset: int) -> int:
        """Return the number of the first record that ends beyond the offset, or the count if none does yet.

        At the end of the last chunk it may be a record that was dropped since.
        """
        if offset == self._ended[0]:
            return self._ended[1]
        low, high = 0, self.count()
        while low < high:
            middle = (low + high) // 2
            _, start, _, length, _, _ = RECORD.unpack(os.pread(self._index, RECORD.size, middle * RECORD.size))
            if start + length <= offset:  # also true for dropped records, which are zeros
                low = middle + 1
            else:
                high = middle
        return low

    # Forward

    def read(
        self, offset: int, limit: int = CHUNK_BYTES, streams: Sequence[int] = BOTH, *, arrivals: bool = False
    ) -> Chunk | Gap | None:
        """Return the next bytes of the streams from `offset` on, of one stream and at most `limit`; None at the end.

        The chunk begins beyond the offset if the bytes there are of another stream; if None is returned, `passed`
        returns how far that goes. With `arrivals` the chunk is of a single arrival, and has its time.
        """
        if not self.open():
            return None
        while True:
            offset = self.passed(offset, streams)
            number = self.find(offset)
            records = RECORD.iter_unpack(self._batch(number))
            first = next(records, None)
            if first is None:
                return None
            time, start, position, length, stream, gap = first
            if not length and number == self._ended[1]:  # it was dropped since the last chunk: search
                self._ended = NOWHERE
                continue
            if not start <= offset < start + length:
                return self._dropped(offset, start)
            if stream in streams or gap == REFUSED:
                break  # else the record has arrived since `passed` found none
        if gap:
            return Gap(offset, start + length, REASONS[gap])
        position += offset - start
        length -= offset - start
        if not arrivals:
            for _, _, _, more, same, gap in records:
                if same != stream or gap or not more or length >= limit:
                    break
                length += more
                number += 1
        data = os.pread(self._files[stream], min(length, limit), position)
        if b"\0" in data and offset < self.first():  # it was dropped since the index was read
            return self._dropped(offset, 0)
        if len(data) == min(length, limit):
            self._ended = offset + len(data), number + (len(data) == length)
        return Chunk(offset, stream, time, data) if data else None

    def _dropped(self, offset: int, start: int) -> Gap | None:
        end = max(start, self.first())
        return Gap(offset, end, "dropped") if end > offset else None

    def passed(self, offset: int, streams: Sequence[int]) -> int:
        """Return the offset of the next bytes of the streams, or of a gap; the end of the log if there are none."""
        if len(streams) == len(STREAMS) or not self.open():
            return offset
        (stream,) = streams
        number = self.find(offset)
        block = self._batch(number)
        if not block:
            return offset
        here = Record._make(RECORD.unpack_from(block))
        if here.offset > offset or not here.length or stream == here.stream or here.gap == REFUSED:
            return offset
        marks = (block[STREAM_AT :: RECORD.size].find(stream), block[GAP_AT :: RECORD.size].find(REFUSED))
        near = [mark for mark in marks if mark > 0]
        if near:
            next_offset = Record._make(RECORD.unpack_from(block, min(near) * RECORD.size)).offset
        else:
            next_offset = self._far(stream, number, here.at(stream))
        return max(next_offset, offset)  # it is zero if it was dropped meanwhile

    def _far(self, stream: int, number: int, arrived: int) -> int:
        """Return the offset of a stream's next record after `number`; `arrived` bytes of the stream precede it."""
        count = self.count()
        after = bisect_right(range(number + 1, count), arrived, key=lambda n: self.record(n).at(stream))
        record = self.record(number + after)
        if number + after < count - 1 or record.stream == stream:
            return record.offset
        if record.gap != REFUSED:
            return record.end
        while (before := self.record(count - 2)).gap == REFUSED:  # one for each 4 GiB
            count, record = count - 1, before
        return record.offset

    def since(self, time_ns: int) -> int:
        """Return the offset after the last byte that arrived before a wall-clock time.

        If even the last one did, but the clock was set back in between, the offset of the first byte that arrived at
        that time or later; the end if none did.
        """
        if not self.open():
            return 0
        count, number = self.count(), self._after(time_ns)
        if number == count and (first := self._first_since(time_ns, count)) is not None:
            number = first
        return max(self.record(number).offset, self.first()) if number < count else self.size()

    def until(self, time_ns: int) -> int:
        """Return the offset after the last byte that arrived before a wall-clock time; 0 if none did."""
        if not self.open():
            return 0
        number = self._after(time_ns)
        return max(self.record(number).offset, self.first()) if number < self.count() else self.size()

    def _after(self, time_ns: int) -> int:
        """Return the number of the record after the last one from before a time.

        Not by bisection: where the clock was set back, the times are in no order. Dropped records have the time 0.
        """
        end = self.count()
        while end:
            start = max(0, end - SCANNED_RECORDS)
            for back, time in enumerate(reversed(self._times(start, end))):
                if time < time_ns:
                    return end - back
            end = start
        return 0

    def _first_since(self, time_ns: int, count: int) -> int | None:
        """Return the number of the first record from a time or later; None if there is none."""
        for start in range(self.first_record(), count, SCANNED_RECORDS):
            times = self._times(start, min(count, start + SCANNED_RECORDS))
            if max(times, default=0) >= time_ns:
                return start + next(number for number, time in enumerate(times) if time >= time_ns)
        return None

    def _times(self, start: int, end: int) -> list[int]:
        """Return the times of the records between two numbers."""
        block = os.pread(self._index, (end - start) * RECORD.size, start * RECORD.size)
        return [record[0] for record in RECORD.iter_unpack(block[: len(block) - len(block) % RECORD.size])]
