"""Read a log by lines: numbered by the newlines of both streams, in the order in which they arrived."""

from dataclasses import dataclass, replace

from jobworker.logs.line_index import LineIndex
from jobworker.logs.places import Dropped, end_positions
from jobworker.logs.reader import Chunk, Gap, LogReader

STEP_BYTES = 8 << 20  # of the log, in which lines are counted before it is known how many there are
LONGEST_LINE_BYTES = 16 << 20  # in which the end of a line is looked for
MAX_LINE_BYTES = 16384  # of a line that is returned; the rest is cut off


@dataclass(slots=True)
class Line:
    """One line: its bytes, which may be of both streams, begin at `offset` and end before `end`."""

    number: int
    offset: int
    end: int
    parts: list[Chunk | Gap]
    cut: bool = False  # whether there are more bytes than in `parts`

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in self.parts if isinstance(part, Chunk))


class Lines:
    """A read of some lines, in pieces of time: from a number on, or around an offset."""

    def __init__(self, reader: LogReader, index: LineIndex, line: int | None, around: int, count: int) -> None:
        """`line` is the number of the first line; if None, `around` is an offset within the one in the middle."""
        last = reader.last_record()
        self.end = last.end if last is not None else 0
        self.lines: list[Line] = []
        # The number of lines in the log, one that has no end yet included; None if not all of them are counted.
        self.total: int | None = None
        self._ends = [0, 0] if last is None else end_positions(last)
        self._reader = reader
        self._index = index
        self._line = line
        self._around = around
        self._count = count
        index.begin(reader)

    @property
    def numbered_from(self) -> int:
        return self._index.base

    def run(self, deadline: float, most: int) -> bool:
        """Count lines until a moment on the monotonic clock, then read them; return whether that is done.

        At most `most` bytes are read, or one line.
        """
        try:
            if self._counted(deadline):
                self._read(most)
                self.total = self._total()
                return True
        except Dropped:  # meanwhile: the caller finds out where the log begins now
            return True
        return False

    def _counted(self, deadline: float) -> bool:
        index, reader = self._index, self._reader
        if self._line is None:
            around = min(max(self._around, reader.first()), self.end)
            if not index.count_to(reader, around, self._ends, deadline):
                return False
            self._line = max(1, index.line_at(reader, around) - self._count // 2)
            return True
        while index.counted < self.end and index.line_at(reader, index.counted) <= self._line:
            if not index.count_to(reader, min(self.end, index.counted + STEP_BYTES), self._ends, deadline):
                return False
        return True

    def _read(self, most: int) -> None:
        assert self._line is not None
        index, reader, number = self._index, self._reader, max(1, self._line)
        if number > index.line_at(reader, index.counted):
            return
        at = index.place(reader, number)
        while at < self.end and len(self.lines) < self._count and (most > 0 or not self.lines):
            line = self._one(number, at)
            self.lines.append(line)
            most -= line.size
            number, at = number + 1, line.end
            if line.end - line.offset > LONGEST_LINE_BYTES:
                break  # it may go on

    def _one(self, number: int, offset: int) -> Line:
        """Read one line, up to the end of the log if it has none."""
        line = Line(number, offset, offset, [])
        while line.end < self.end and line.end - offset <= LONGEST_LINE_BYTES:
            if (part := self._reader.read(line.end, MAX_LINE_BYTES)) is None:
                break
            if isinstance(part, Chunk):
                newline = part.data.find(b"\n", 0, self.end - part.offset)
                data = part.data[: newline + 1 if newline >= 0 else self.end - part.offset]
                room = MAX_LINE_BYTES - line.size
                line.cut |= len(data) > room
                if room > 0:
                    line.parts.append(replace(part, data=data[:room]))
                line.end = part.offset + len(data)
                if newline >= 0:
                    break
            else:
                line.parts.append(part)
                line.end = min(part.end, self.end)
        return line

    def _total(self) -> int | None:
        if not self._index.covers(self._ends):
            return None
        last = self._reader.read(self.end - 1) if self.end else None
        ended = last is None or (isinstance(last, Chunk) and last.data.endswith(b"\n"))
        return self._index.newlines + (not ended)
