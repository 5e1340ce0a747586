"""Find where the last lines of a log begin, and read the last bytes of a stream."""

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress

from jobworker.formats.log_index import STREAMS
from jobworker.logs.reader import BOTH, CHUNK_BYTES, MAX_TRIES, LogReader, Record

SEARCH_LIMIT_BYTES = 16 << 20  # how far back newlines are searched for


def last_bytes(reader: LogReader, stream: int, limit: int) -> bytes:
    """Return the last bytes of a stream, at most `limit`, without the zeros that stand for a gap."""
    size = reader.stream_size(stream)
    return reader.read_at(stream, max(0, size - limit), size).replace(b"\0", b"")


def last_lines(reader: LogReader, count: int, streams: Sequence[int] = BOTH, limit: int = SEARCH_LIMIT_BYTES) -> int:
    """Return the offset at which the last `count` lines of the streams begin; the very last may lack its newline.

    If the last `limit` bytes do not contain that many lines, return the offset at which the search ended.
    """
    last = reader.last_record()
    if count <= 0 or last is None:
        return reader.size()
    for _ in range(MAX_TRIES):
        with suppress(_DroppedError):
            return max(_Backward(reader, streams, last).lines(count, limit), reader.first())
        last = reader.last_record() or last
    return reader.first()


class _DroppedError(Exception):
    """Bytes were dropped from the log while they were being read."""


class _Backward:
    """Counts newlines from the end of a log towards its start, in blocks.

    A "place" below is an offset if both streams are read. If only one is, it is a position in that stream's file,
    in which the bytes of the stream are contiguous whatever the other stream has written in between.
    """

    def __init__(self, reader: LogReader, streams: Sequence[int], last: Record) -> None:
        self._reader = reader
        self._streams = streams
        self._stream = None if len(streams) == len(STREAMS) else streams[0]
        self._last = last
        number, offset = reader.kept()
        first = reader.record(number)
        if not first.length:
            raise _DroppedError
        beyond = offset - first.offset  # bytes of the oldest record that were dropped
        place = first.offset if self._stream is None else first.at(self._stream)
        self._low = place + (beyond if self._stream in (None, first.stream) else 0)

    def lines(self, count: int, limit: int) -> int:
        stop = self._end()
        if stop == self._low:
            return self._last.end
        looked, met = 0, False
        while stop > self._low and looked < limit:
            record = self._covering(stop - 1)
            if record.gap:
                stop = self._start(record)
                continue
            start = max(self._low, stop - min(CHUNK_BYTES, limit - looked))
            blocks = self._read(start, stop)
            if not met:  # a newline at the very end begins no line
                met = True
                count += blocks[self._streams.index(record.stream)].endswith(b"\n")
            newlines = sum(block.count(b"\n") for block in blocks)
            if newlines >= count:
                return self._offset(self._newline(count, start, stop, blocks)) + 1
            looked += stop - start
            count -= newlines
            stop = start
        return self._border(stop)

    def _end(self) -> int:
        if self._stream is None:
            return self._last.end
        return self._last.at(self._stream) + (self._last.length if self._last.stream == self._stream else 0)

    def _covering(self, place: int) -> Record:
        """Return the record that covers a place; raise _DroppedError if none does any more."""
        reader, stream = self._reader, self._stream
        if stream is None:
            number = reader.find(place)
        else:
            number = bisect_right(range(reader.count()), place, key=lambda n: reader.record(n).at(stream)) - 1
        record = reader.record(number)
        if not self._start(record) <= place < self._start(record) + record.length:
            raise _DroppedError
        return record

    def _start(self, record: Record) -> int:
        return record.offset if self._stream is None else record.position

    def _positions(self, place: int) -> list[int]:
        """Return the position in each stream that corresponds to a place."""
        if self._stream is not None:
            return [place]
        record = self._last if place == self._last.end else self._covering(place)
        beyond = place - record.offset
        return [record.at(stream) + (beyond if stream == record.stream else 0) for stream in self._streams]

    def _read(self, start: int, stop: int) -> list[bytes]:
        """Return the bytes of each stream between two places."""
        ranges = zip(self._streams, self._positions(start), self._positions(stop), strict=True)
        return [self._reader.read_at(stream, begin, end) for stream, begin, end in ranges]

    def _newline(self, count: int, start: int, stop: int, blocks: list[bytes]) -> int:
        """Return the place of the `count`th newline before the end of these blocks, which begin at `start`."""
        begins = self._positions(start)

        def follow(place: int) -> int:
            cuts = zip(blocks, self._positions(place), begins, strict=True)
            return sum(block.count(b"\n", position - begin) for block, position, begin in cuts)

        return start + bisect_right(range(start, stop), -count, key=lambda place: -follow(place)) - 1

    def _offset(self, place: int) -> int:
        if self._stream is None:
            return place
        record = self._covering(place)
        return record.offset + place - record.position

    def _border(self, place: int) -> int:
        """Return the offset at which the search ended: the start of its arrival, so that no character is cut."""
        record = self._covering(place)
        inside = place - self._start(record)
        return record.offset if inside < CHUNK_BYTES else record.offset + inside
