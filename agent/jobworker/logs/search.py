"""Search a log: every match of a pattern in either stream, in the order of the offsets at which they begin.

A match lies within one line of one stream, whatever the other stream has written in between. What is found does not
depend on where a search begins or is interrupted: each one starts at the begin of a line, and leaves out what
is before its own begin.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter

from jobworker.logs.line_index import LineIndex
from jobworker.logs.patterns import Pattern
from jobworker.logs.places import Dropped, Locator, end_positions, positions_at
from jobworker.logs.reader import LogReader

WINDOW_BYTES = 131072  # a line that is longer is searched in parts
OVERLAP_BYTES = 16384  # that a match may reach into the next part of its line
MATCH_BYTES = 100  # about what the facts of a match take in an answer
BATCH_MATCHES = 256  # of a stream, before the other stream is searched as far


@dataclass(frozen=True, slots=True)
class Match:
    """One match: its bytes begin at `offset`. `excerpt` has them at `at`, and what is around them in their line."""

    offset: int
    stream: int
    length: int
    line: int
    excerpt: bytes
    at: int
    cut: bool  # whether the line has more than the excerpt


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for, from an offset on.

    At most `limit` matches are found, or all are only counted if it is 0; `once`: only the first of each line.
    """

    pattern: Pattern
    start: int
    limit: int
    streams: Sequence[int]
    excerpt: int  # bytes of a line to return, at most
    once: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """A match at a position in its stream."""

    position: int
    length: int
    excerpt: bytes
    at: int
    cut: bool
    count: int = 1  # of matches that are only counted, from this one on


class _Stream:
    """Finds the matches in one stream, in order. All that begin before the position `at` are found."""

    def __init__(self, reader: LogReader, stream: int, query: Query, start: int, end: int, frontier: int) -> None:
        self.stream = stream
        self.locator = Locator(reader, stream)
        self.at = start
        self.end = end
        # The offset before which all matches in this stream are found.
        self.frontier = frontier
        self._reader = reader
        self._query = query
        # Matches that begin before this position are left out.
        self._start = start
        # The text that is searched now, whole lines or a part of a long one, and the position of its first byte.
        # Matches that begin at `cut` or later belong to the next text. Windows are at multiples of their size,
        # whatever the search began with.
        self._text = self._prepared = b""
        self._base = self._cut = 0
        self._window = 0
        # The place in the text at which to go on.
        self._next = 0

    @property
    def done(self) -> bool:
        return self.at >= self.end

    @property
    def unfinished(self) -> int:
        """The begin of the last line if that has no end yet, else the end; of a long line, its last part."""
        return self._base + self._text.rfind(b"\n") + 1 if self._text else self.end

    def advance(self, deadline: float, *, alone: bool) -> list[_Found]:
        """Search on through some text, until the deadline at the latest; `alone`: the other stream is searched."""
        if not self._text or self._base + self._next >= self._cut:
            self._load()
        if not self._text:
            return []
        if alone and (count := self._counted()) is not None:
            counted = _Found(self._base + self._next, 0, b"", 0, True, count)
            self._next, self.at = self._cut - self._base, max(self.at, self._cut)
            return [counted] if count else []
        found: list[_Found] = []
        while len(found) < BATCH_MATCHES:
            begin, end = self._query.pattern.find(self._prepared, self._next)
            if begin < 0 or self._base + begin >= self._cut:
                self._next = self._cut - self._base
                break
            self._next = end
            if b"\0" in self._text[begin:end]:  # as the bytes are that the log does not hold
                end, self._next = self._without_gap(begin, end)
            if end > begin:
                if self._query.once:
                    self._next = max(self._next, self._line(begin, end)[1])
                if self._base + begin >= self._start:
                    found.append(self._found(begin, end))
            if time.monotonic() >= deadline:
                break
        # Not beyond the cut: what follows in a long line is found however its last part ended.
        self.at = max(self.at, min(self._base + self._next, self._cut))
        return found

    def _counted(self) -> int | None:
        """Return how many matches the rest of the text has, if that can be counted at once."""
        query, begin = self._query, self._next
        if query.limit or query.once or self._base + begin < self._start or b"\0" in self._text:
            return None
        return query.pattern.count(self._prepared, begin, self._cut - self._base)

    def _load(self) -> None:
        """Read the text that has the place to go on at, from the begin of a line."""
        at = self._start = max(self._start, self.at)
        if self._text and at == self._cut:
            self._read(at, self._window + 1)
        else:
            window = at // WINDOW_BYTES
            before = self._reader.read_at(self.stream, max(0, window - 1) * WINDOW_BYTES, window * WINDOW_BYTES)
            newline = before.rfind(b"\n") + 1
            self._read(window * WINDOW_BYTES - (len(before) - newline if newline else 0), window)
            if at >= self._cut < self.end:
                self._read(self._cut, window + 1)
            self._next = max(self._next, self._text.rfind(b"\n", 0, at - self._base) + 1)
        if self._text[:1] == b"\0" == self._text[-1:] and not self._text.strip(b"\0"):
            self.at = self._reader.next_data(self.stream, at, self.end)  # it may be gigabytes
            if self.at > at:
                self._text = b""

    def _read(self, begin: int, window: int) -> None:
        """Read the lines that end in a window, of which the first begins at `begin`; or a part of a line."""
        border = (window + 1) * WINDOW_BYTES
        lead = begin > 0  # a byte of context: whether it is a newline, or of a word
        text = self._reader.read_at(self.stream, begin - lead, min(border, self.end))
        cut = min(border, self.end)
        newline = text.rfind(b"\n")
        if border < self.end and begin - lead + newline >= window * WINDOW_BYTES and newline >= lead:
            text = text[: newline + 1]
            cut = begin - lead + len(text)
        elif border < self.end:
            text += self._reader.read_at(self.stream, border, min(border + OVERLAP_BYTES, self.end))
        self._text, self._prepared = text, self._query.pattern.prepare(text)
        self._base, self._cut, self._window, self._next = begin - lead, cut, window, int(lead)

    def _without_gap(self, begin: int, end: int) -> tuple[int, int]:
        """Return where a match ends if bytes that the log does not hold are no part of it, and where to go on."""
        at = self._text.find(b"\0", begin, end)
        while at >= 0:
            try:
                record = self.locator.record(self._base + at)
            except Dropped:
                kept = positions_at(self._reader, self._reader.first())[self.stream]
                return begin, max(end, kept - self._base)
            after = record.position + record.length - self._base
            if record.gap:
                return max(begin, record.position - self._base), after
            at = self._text.find(b"\0", after, end) if after < end else -1
        return end, end

    def _line(self, begin: int, end: int) -> tuple[int, int]:
        """Return where the line of a match begins and ends."""
        newline = self._text.find(b"\n", end)
        return self._text.rfind(b"\n", 0, begin) + 1, newline if newline >= 0 else len(self._text)

    def _found(self, begin: int, end: int) -> _Found:
        if not self._query.limit:
            return _Found(self._base + begin, end - begin, b"", 0, cut=True)
        first, last = self._line(begin, end)
        part = last == len(self._text) and self._base + last < self.end
        if first == 0 and self._base:
            first, part = 1, True  # the byte of context is of the same line, but not of this part
        size = self._query.excerpt
        start = max(first, min(begin - size // 4, last - size))
        stop = min(last, start + size)
        while start < begin and self._text[start] & 0xC0 == 0x80 and start > first:  # within a character
            start += 1
        cut = part or (start, stop) != (first, last)
        return _Found(self._base + begin, end - begin, self._text[start:stop], begin - start, cut)


class Search:
    """One search, in pieces of time; `next` is the offset to go on at, `complete` whether it reached the end."""

    def __init__(self, reader: LogReader, index: LineIndex, query: Query, *, growing: bool) -> None:
        """`growing`: whether more may be written to the log; then its last line may have no end yet."""
        self.matches: list[Match] = []
        self.count = 0
        self.bytes = 0  # of all excerpts
        last = reader.last_record()
        self.end = last.end if last is not None else 0
        self.next = max(query.start, reader.first())
        self.complete = self.next >= self.end
        self._reader = reader
        self._index = index
        self._query = query
        self._growing = growing
        # Matches that may come after one that the other stream still has.
        self._pending: list[tuple[int, _Stream, _Found]] = []
        self._streams: list[_Stream] = []
        self._ends = [0, 0]
        if last is not None and not self.complete:
            starts, ends = positions_at(reader, self.next), end_positions(last)
            self._streams = [_Stream(reader, n, query, starts[n], ends[n], self.next) for n in query.streams]
            index.begin(reader)
            self._ends = ends

    @property
    def numbered_from(self) -> int:
        return self._index.base

    def run(self, deadline: float, most: int) -> bool:
        """Search until a moment on the monotonic clock; return whether there is nothing left to do.

        That is at the end, at the limit of matches, or when all excerpts together have more than `most` bytes.
        """
        try:
            while not self.complete and time.monotonic() < deadline:
                if self._step(deadline, most):
                    return True
        except Dropped:  # meanwhile: what is kept begins further on
            self.next = max(self.next, self._reader.first())
            return True
        return self.complete

    def _step(self, deadline: float, most: int) -> bool:
        stream = min(self._streams, key=attrgetter("frontier"))
        if not stream.done:
            alone = all(each.done for each in self._streams if each is not stream)
            found = stream.advance(deadline, alone=alone)
            self._pending += [(stream.locator.offset(each.position), stream, each) for each in found]
        stream.frontier = self.end if stream.done else stream.locator.offset(stream.at)
        horizon = min(each.frontier for each in self._streams)
        ready = sorted((each for each in self._pending if each[0] < horizon), key=itemgetter(0))
        self._pending = [each for each in self._pending if each[0] >= horizon]
        for number, (offset, of, each) in enumerate(ready):
            if not self._take(offset, of.stream, each, deadline):
                self._pending += ready[number:]
                return False
            self.next = offset + 1
            if self._query.limit and (len(self.matches) >= self._query.limit or self.bytes >= most):
                return True
        self.next = horizon
        if horizon >= self.end:
            self.complete = True
            if self._growing:  # a match that is not written to its end yet is found by the next search
                begins = min(map(self._begin_of_last, self._streams))
                self.next = max(self._query.start, self.end - WINDOW_BYTES, begins)
        return False

    def _take(self, offset: int, stream: int, found: _Found, deadline: float) -> bool:
        """Count a match; return False if its line cannot be counted in time."""
        line = 0
        if self._query.limit:
            places = [offset - found.position, offset - found.position]
            places[stream] = found.position
            while not self._index.covers(places):
                if time.monotonic() >= deadline:
                    return False
                self._index.extend(self._reader, places, self._ends)
            line = self._index.line(self._reader, places)
            self.matches.append(Match(offset, stream, found.length, line, found.excerpt, found.at, found.cut))
            self.bytes += len(found.excerpt) + MATCH_BYTES
        self.count += found.count
        return True

    def _begin_of_last(self, stream: _Stream) -> int:
        begin = stream.unfinished
        return stream.locator.offset(begin) if begin < stream.end else self.end
