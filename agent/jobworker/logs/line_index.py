"""Number the lines of a log: how many newlines precede each 256 KiB of its streams.

A line is numbered by the newlines of both streams that arrived before it. The counts are made as far as a call
needs them, a block at a time, and are kept in memory only: to count again takes a second for some GiB.
"""

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat

from jobworker.logs.places import Dropped, positions_at
from jobworker.logs.reader import BOTH, LogReader

BLOCK_BYTES = 256 << 10


class _Counts:
    """The newlines of one stream, from a position on."""

    def __init__(self, base: int) -> None:
        self.base = base
        # Up to here all newlines are counted, and so many there are.
        self.counted = base
        self.newlines = 0
        # Newlines before the end of each block, from the one that has `base`.
        self.marks = array("Q")
        # The last position that was asked for and what it has before it: most go on from there.
        self._last = (base, 0)

    def extend(self, reader: LogReader, stream: int, end: int) -> None:
        """Count up to the end of the next block, or to `end`, a position that is in the log."""
        stop = min(end, (self.counted // BLOCK_BYTES + 1) * BLOCK_BYTES)
        block = reader.read_at(stream, self.counted, stop)
        self.newlines += block.count(b"\n")
        if block[:1] == b"\0" and not block.strip(b"\0"):  # a hole, which may be gigabytes
            stop = max(stop, reader.next_data(stream, self.counted, end) // BLOCK_BYTES * BLOCK_BYTES)
        self.marks.extend(repeat(self.newlines, stop // BLOCK_BYTES - self.counted // BLOCK_BYTES))
        self.counted = stop

    def before(self, reader: LogReader, stream: int, position: int) -> int:
        """Return the newlines before a position up to `counted`.

        Backward from the next mark: the bytes before the position may have been dropped meanwhile.
        """
        last, newlines = self._last
        if 0 <= position - last < BLOCK_BYTES:
            newlines += reader.read_at(stream, last, position).count(b"\n")
        else:
            number = position // BLOCK_BYTES - self.base // BLOCK_BYTES
            mark = (position // BLOCK_BYTES + 1) * BLOCK_BYTES
            stop, total = (mark, self.marks[number]) if mark <= self.counted else (self.counted, self.newlines)
            newlines = total - reader.read_at(stream, position, stop).count(b"\n")
        self._last = position, newlines
        return newlines


class LineIndex:
    """Counts the lines of one log. `lock` is for the threads that use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # The offset at which line 1 begins: 0, or of what was kept when the first line was asked for.
        self.base = 0
        # Up to this offset the lines of both streams are counted.
        self.counted = 0
        self._counts: list[_Counts] = []

    @property
    def size(self) -> int:
        """The number of marks that it holds."""
        return sum(len(counts.marks) for counts in self._counts)

    @property
    def newlines(self) -> int:
        return sum(counts.newlines for counts in self._counts)

    def begin(self, reader: LogReader) -> None:
        """Begin at the oldest byte that is kept, unless all before it is counted."""
        kept = positions_at(reader, reader.first())
        if not self._counts or any(at > counts.counted for at, counts in zip(kept, self._counts, strict=True)):
            self.base = self.counted = sum(kept)
            self._counts = [_Counts(at) for at in kept]

    def covers(self, places: Sequence[int]) -> bool:
        """Whether the lines before a position in each stream are counted."""
        return all(each.counted >= place for each, place in zip(self._counts, places, strict=True))

    def extend(self, reader: LogReader, places: Sequence[int], ends: Sequence[int]) -> None:
        """Count one more block of each stream that is not counted up to its place; `ends` are those of the log."""
        for stream, counts, place, end in zip(BOTH, self._counts, places, ends, strict=True):
            if counts.counted < place:
                counts.extend(reader, stream, end)

    def line(self, reader: LogReader, positions: Sequence[int]) -> int:
        """Return the number of the line at a place that is counted, given by a position in each stream."""
        pairs = zip(BOTH, self._counts, positions, strict=True)
        return 1 + sum(counts.before(reader, stream, position) for stream, counts, position in pairs)

    def count_to(self, reader: LogReader, offset: int, ends: Sequence[int], deadline: float) -> bool:
        """Count all lines before an offset; return False if that is not done at a moment on the monotonic clock."""
        places = positions_at(reader, offset)
        while not self.covers(places):
            if time.monotonic() >= deadline:
                return False
            self.extend(reader, places, ends)
        self.counted = max(self.counted, offset)
        return True

    def line_at(self, reader: LogReader, offset: int) -> int:
        """Return the number of the line that has the byte at an offset, up to `counted`."""
        return self.line(reader, positions_at(reader, offset))

    def place(self, reader: LogReader, line: int) -> int:
        """Return the offset at which a line begins that begins up to `counted`; raise Dropped."""
        begin = max(self.base, reader.first())
        if line <= 1 or begin >= self.counted:
            return begin
        first, count = reader.find(begin), min(reader.count(), reader.find(self.counted - 1) + 1)

        def lines_before(number: int) -> int:
            return self.line_at(reader, max(begin, reader.record(number).offset)) - 1

        # The last record before which there are too few newlines: it has the one that is looked for.
        number = bisect_left(range(first + 1, count), line - 1, key=lines_before) + first
        record = reader.record(number)
        if not record.length:
            raise Dropped
        missing = line - 1 - lines_before(number)
        at, end = record.position + max(0, begin - record.offset), record.position + record.length
        while at < end and (block := reader.read_at(record.stream, at, min(end, at + BLOCK_BYTES))):
            if (here := block.count(b"\n")) >= missing:
                for _ in range(missing):
                    at += (there := block.find(b"\n") + 1)
                    block = block[there:]
                return record.offset + at - record.position
            missing -= here
            at += len(block)
        raise Dropped
