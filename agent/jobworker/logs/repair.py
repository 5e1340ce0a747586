"""Repair a log after a power cut: the index then covers the bytes that are there, and marks those that are not.

A file system may keep the index and lose the bytes that it covers, or the reverse. Bytes that were not written are a
hole in a file, which reads as zeros, or are beyond its end. Nothing writes the log meanwhile: its pump is dead.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobworker.formats.log_index import POWER_CUT, RECORD, STREAMS
from jobworker.linux.beneath import open_in_log
from jobworker.logs.reader import LogReader, Record
from jobworker.logs.unwritten import RECENT_NS, merged, zero_tails

BLOCK_BYTES = 4096  # if a file ends within a block, zeros may stand in place of bytes that were not written
CHECKED_RECORDS = 256  # at the end of the index that are compared with each other: two blocks of them
RECENT_RECORDS = 4096  # at the end of the index, in which zeros are suspected at most
MAX_RECORD_BYTES = 0xFFFFFFFF  # that one record can cover
Ranges = list[tuple[int, int]]


def repair(folder: Path, *, closed: bool = True) -> bool:
    """Repair the log in a folder; return whether bytes were lost that the index covered. Raises OSError.

    If the log was not `closed`, its last bytes were perhaps on their way to the disk: zeros in their place count as
    missing.
    """
    try:
        index = open_in_log(str(folder), "index", os.O_RDWR)
    except FileNotFoundError:
        return False
    files: list[int] = []
    try:
        for name in STREAMS:
            files.append(open_in_log(str(folder), name, os.O_RDWR | os.O_CREAT))
        reader = LogReader(folder)
        first, offset = reader.kept()
        reader.close()
        return _Repair(index, files, first, offset, suspicious=not closed).run()
    finally:
        for fd in (index, *files):
            os.close(fd)


class _Repair:
    """`first` is the number of the oldest record of which bytes are kept, `offset` that of the first of them.

    What is before was dropped.
    """

    def __init__(self, index: int, files: Sequence[int], first: int, offset: int, *, suspicious: bool) -> None:
        self._index = index
        self._files = files
        self._first = first
        self._offset = offset
        self._suspicious = suspicious  # of zeros in blocks that were written shortly before the end
        self._count = self._whole_records()

    def run(self) -> bool:
        last = self._record(self._count - 1) if self._count > self._first else None
        ends = [0, 0] if last is None else [last.at(s) + (last.length if s == last.stream else 0) for s in (0, 1)]
        begin = self._record(self._first) if last is not None else None
        begins = [0, 0] if begin is None else [begin.at(s) for s in (0, 1)]
        if begin is not None:
            begins[begin.stream] += self._offset - begin.offset
        missing = [list(_missing(fd, *limits)) for fd, *limits in zip(self._files, begins, ends, strict=True)]
        if self._suspicious and last is not None:
            recent = self._recent(last.time)
            for stream, fd in enumerate(self._files):
                zeros = zero_tails(fd, recent.at(stream), ends[stream])
                missing[stream] = merged([*missing[stream], *zeros])
        changed = self._first_touched(missing)
        before = [self._record(number) for number in range(changed, self._count)]
        after = [piece for record in before for piece in _pieces(record, missing[record.stream])]
        lost = after != before
        after += self._unindexed(last, ends)
        while after and after[-1].gap == POWER_CUT:  # the log must end at a byte that is there
            after.pop()
        if after != before or os.fstat(self._index).st_size != self._count * RECORD.size:
            self._write(changed, after)
        return lost

    def _record(self, number: int) -> Record:
        return Record._make(RECORD.unpack(os.pread(self._index, RECORD.size, number * RECORD.size)))

    def _recent(self, end: int) -> Record:
        """Return the oldest record that was written shortly before the end, of the last that are looked at."""
        number = self._count - 1
        while (
            number > max(self._first, self._count - RECENT_RECORDS)
            and self._record(number - 1).time > end - RECENT_NS
        ):
            number -= 1
        return self._record(number)

    def _whole_records(self) -> int:
        """Return the number of records in the index before the first that was not written."""
        count = os.fstat(self._index).st_size // RECORD.size
        start = self._first * RECORD.size
        if count > self._first:
            count = min(count, os.lseek(self._index, start, os.SEEK_HOLE) // RECORD.size)
        while count > self._first and not self._record(count - 1).length:
            count -= 1
        for number in range(max(self._first + 1, count - CHECKED_RECORDS), count):
            before, record = self._record(number - 1), self._record(number)
            if record.offset != before.end or not record.length or record.stream >= len(STREAMS):
                return number
        return count

    def _first_touched(self, missing: Sequence[Ranges]) -> int:
        """Return the number of the first record with missing bytes; the count if there is none."""
        touched = self._count
        for stream, ranges in enumerate(missing):
            for start, _ in ranges:
                low, high = self._first, touched
                while low < high:
                    middle = (low + high) // 2
                    record = self._record(middle)
                    if record.at(stream) + (record.length if record.stream == stream else 0) <= start:
                        low = middle + 1
                    else:
                        high = middle
                touched = low
        return touched

    def _unindexed(self, last: Record | None, ends: list[int]) -> Iterator[Record]:
        """Return records for the bytes that the index does not cover, `out` first, as a new pump would write them."""
        time, positions = (last.time if last else 0), list(ends)
        for stream, fd in enumerate(self._files):
            left = _end_of_data(fd, positions[stream]) - positions[stream]
            while left > 0:
                length = min(left, MAX_RECORD_BYTES)
                time = time or os.fstat(fd).st_mtime_ns
                yield Record(time, sum(positions), positions[stream], length, stream, 0)
                positions[stream] += length
                left -= length

    def _write(self, number: int, records: Sequence[Record]) -> None:
        os.ftruncate(self._index, number * RECORD.size)
        os.pwrite(self._index, b"".join(RECORD.pack(*record) for record in records), number * RECORD.size)
        os.fsync(self._index)


def _pieces(record: Record, missing: Ranges) -> Iterator[Record]:
    """Divide a record into the bytes that are there and gaps for the others; a gap stays as it is."""
    position, end = record.position, record.position + record.length
    if record.gap:
        yield record
        return
    for start, stop in [*missing, (end, end)]:
        for until, gap in ((min(start, end), 0), (min(stop, end), POWER_CUT)):
            if until > position:
                offset = record.offset + position - record.position
                yield record._replace(offset=offset, position=position, length=until - position, gap=gap)
                position = until


def _missing(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Return which ranges of a file were never written, between two positions."""
    size = os.fstat(fd).st_size
    while start < min(end, size):
        hole = os.lseek(fd, start, os.SEEK_HOLE)
        if hole >= min(end, size):
            break
        start = min(_next_data(fd, hole, size), end)
        yield hole, start
    if end > size:
        yield max(start, size), end


def _next_data(fd: int, hole: int, size: int) -> int:
    try:
        return os.lseek(fd, hole, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # none follows
            raise
        return size


def _end_of_data(fd: int, start: int) -> int:
    """Return where the bytes of a file end, from a position on; zeros in its last block count as not written."""
    size = os.fstat(fd).st_size
    if start >= size:
        return start
    end = min(size, os.lseek(fd, start, os.SEEK_HOLE))
    begin = max(start, end - BLOCK_BYTES)
    return begin + len(os.pread(fd, end - begin, begin).rstrip(b"\0"))
