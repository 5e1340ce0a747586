"""A model of one job's terminal, and how far it has taken the job's log. All of it blocks: it is for a thread."""

import re
import time
from dataclasses import dataclass

from jobworker.formats.sizes import Size
from jobworker.logs.reader import Chunk, LogReader
from jobworker.logs.sizes import recorded_sizes
from jobworker.screen import MAX_CELLS
from jobworker.screen.picture import drawn
from jobworker.screen.terminal import Terminal

WHOLE_BYTES = 2 << 20  # of a log, or of what is new in it, that are all taken
WINDOW_BYTES = 512 << 10  # of the end of one that has more, which are taken; the rest is skipped
SHORT_BYTES = 64 << 10  # the same, if the output takes too long
SLICE_BYTES = 64 << 10  # that one call of `advance` takes at most
SLICE_SECONDS = 0.05  # of CPU time for that
PAUSE_SECONDS = 0.002  # of CPU time until the agent's loop may run
STEP_BYTES = 1024  # that are taken before a look at the time
MAX_SECONDS = 2.0  # of CPU time for one catch-up
SCAN_SECONDS = 1.0  # of CPU time to look for the modes that were set in the part that is skipped
SCANNED_BYTES = 256 << 10  # at once
HINTS = (b"\x1b[?", b"\x1b]", b"\x1bc")  # what has none of these has no setting of importance; quick to look for
LONGEST_SETTING = 400  # bytes
# What clears the whole screen: what was shown before does not matter.
CLEARED = re.compile(rb"\x1b\[H\x1b\[(?:0?J|2J)|\x1b\[2J\x1b\[(?:1;1)?H|\x1bc|\x1b\[\?1049h")
# What remains in force when the text that was with it is gone: a reset, modes, the region that scrolls, the title.
SETTING = re.compile(
    rb"\x1b(?:(c)|\[\?([\d;]{1,32})([hl])|\[([\d;]{0,16}r)|\]([02];[^\x07\x1b]{0,256})(?:\x07|\x1b\\))"
)
PLACE = re.compile(rb"[\n\x1b]")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a terminal shows after all output before `offset`; `exact`: all of it was taken. Rows, columns from 0."""

    offset: int
    exact: bool
    rows: int
    cols: int
    cursor: tuple[int, int]
    cursor_visible: bool
    title: str
    alternate: bool
    text: list[str]
    ansi: str | None


class ScreenModel:
    """Takes the log of one job, from its begin or from close to its end."""

    def __init__(self, folder: str, rows: int, cols: int) -> None:
        self._folder = folder
        self._first_size = rows, cols
        self._terminal = Terminal(1, 1)
        self._offset: int | None = None  # of the next byte to take; None: nothing was taken yet
        self._exact = True
        self._sizes: list[Size] = []
        self._spent = 0.0  # seconds of CPU time of this catch-up
        self._hurried = False  # this catch-up took too long once, and goes on near the end
        self.end = 0  # of the log, when the catch-up began

    @property
    def cells(self) -> int:
        return self._terminal.rows * self._terminal.cols

    def size(self) -> tuple[int, int]:
        """Return the size that the job's terminal has now, as far as it is recorded."""
        self._sizes = recorded_sizes(self._folder)
        return (self._sizes[-1][2], self._sizes[-1][3]) if self._sizes else self._first_size

    def begin(self) -> None:
        """Begin to catch up with the log as it is now."""
        self._spent, self._hurried = 0.0, False
        reader = LogReader(self._folder)
        try:
            self.end = reader.size()
            first = reader.first()
            if self._offset is None:
                whole = self.end - first <= WHOLE_BYTES
                self._begin_at(reader, first if whole else self._near_end(reader, WINDOW_BYTES))
            elif self.end - self._offset > WHOLE_BYTES or self._offset < first:
                self._begin_at(reader, max(first, self._near_end(reader, WINDOW_BYTES)))
        finally:
            reader.close()

    def advance(self) -> bool:
        """Take a slice of the log; return whether that was the last one."""
        started = time.thread_time()
        reader = LogReader(self._folder)
        try:
            last = self._take(reader)
            self._spent += time.thread_time() - started
            if last or self._spent < MAX_SECONDS:
                return last
            if self._hurried:
                self._exact = False
                return True
            self._hurried, self._spent = True, 0.0
            if self._offset is None or self.end - self._offset > SHORT_BYTES:
                self._begin_at(reader, self._near_end(reader, SHORT_BYTES))
            return False
        finally:
            reader.close()

    def _take(self, reader: LogReader) -> bool:
        offset = self._offset or 0
        part = reader.read(offset, min(SLICE_BYTES, self.end - offset)) if offset < self.end else None
        if isinstance(part, Chunk):
            self._offset = self._feed(part.offset, part.data)
        elif part is not None:
            self._offset, self._exact = part.end, False
        at_end = part is None or self._offset is None or self._offset >= self.end
        if at_end:
            self._resize(self._offset or 0)
        return at_end

    def _feed(self, offset: int, data: bytes) -> int:
        """Take output, and the sizes at their places in it, for a moment; return the offset of what is left."""
        place, begun = 0, time.thread_time()
        deadline, pause = begun + SLICE_SECONDS, begun + PAUSE_SECONDS
        while place < len(data) and time.thread_time() < deadline:
            self._resize(offset + place)
            stops = [at - offset for _, at, _, _ in self._sizes if offset + place < at < offset + len(data)]
            end = min([place + STEP_BYTES, len(data), *stops])
            self._terminal.feed(data[place:end])
            place = end
            if time.thread_time() > pause:
                time.sleep(0)  # let the agent's loop run: it would have to wait for the interpreter's lock
                pause = time.thread_time() + PAUSE_SECONDS
        return offset + place

    def _resize(self, offset: int) -> None:
        """Have the size that output at this offset was written for."""
        rows, cols = self._first_size
        for _, at, new_rows, new_cols in self._sizes:
            if at <= offset:
                rows, cols = new_rows, new_cols
        if rows * cols <= MAX_CELLS:
            self._terminal.resize(rows, cols)

    def _near_end(self, reader: LogReader, size: int) -> int:
        """Return where to begin to take about the last `size` bytes: at a place where the screen was cleared."""
        first, start = reader.first(), max(0, self.end - size)
        data = reader.read_at(0, start, self.end)
        found = CLEARED.search(data) or PLACE.search(data)
        return max(first, start + (found.start() if found else 0))

    def _begin_at(self, reader: LogReader, offset: int) -> None:
        """Begin with a new terminal; it has the modes that were set before."""
        self._terminal = Terminal(1, 1)
        self._offset, self._exact = offset, offset == 0
        self._resize(offset)
        if offset:
            self._terminal.feed(settings_before(reader, offset))
            if self._terminal.main is None:
                self._terminal.feed(b"\x1b[9999H")  # all lines that were written before have moved it to the last row

    def picture(self, *, ansi: bool) -> Picture:
        terminal = self._terminal
        cursor = terminal.cursor
        return Picture(
            self._offset or 0,
            self._exact,
            terminal.rows,
            terminal.cols,
            (cursor.y, min(cursor.x, terminal.cols - 1)),
            25 in terminal.modes,
            terminal.title,
            terminal.main is not None,
            terminal.shown(),
            drawn(terminal) if ansi else None,
        )


def settings_before(reader: LogReader, offset: int) -> bytes:
    """Return the output that sets what was in force at an offset; looked for backwards, at most SCAN_SECONDS."""
    modes: dict[bytes, bytes] = {}
    others: dict[str, bytes] = {}
    first, end, started = reader.first(), offset, time.thread_time()
    reset = False
    while end > first and not reset and time.thread_time() - started < SCAN_SECONDS:
        start = max(first, end - SCANNED_BYTES)
        data = reader.read_at(0, start, min(offset, end + LONGEST_SETTING))
        near = end == offset  # a region is only looked for here: it takes a look at each sequence
        for found in reversed([*SETTING.finditer(data)]) if near or any(hint in data for hint in HINTS) else ():
            if found.start() >= end - start:
                continue  # it was in the last block
            if reset := found[1] is not None:
                break
            if found[2] is not None:
                for mode in found[2].split(b";"):
                    modes.setdefault(mode, found[3])
            elif found[4] is not None:
                others.setdefault("region", b"\x1b[" + found[4])
            else:
                others.setdefault("title", b"\x1b]" + found[5] + b"\x07")
        end = start
        time.sleep(0)
    parts = [b"\x1b[?%s%s" % (mode, which) for mode, which in modes.items() if mode != b"1048"]
    return b"".join([*parts, *others.values(), b"\x1b[H"])
