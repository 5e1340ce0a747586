"""Translate between offsets, which count both streams, and positions in the file of one stream."""

from bisect import bisect_right

from jobworker.logs.reader import BOTH, LogReader, Record


class Dropped(Exception):
    """The bytes at a place are no longer kept."""


def positions_at(reader: LogReader, offset: int) -> list[int]:
    """Return how many bytes of each stream precede an offset; raise Dropped."""
    number = reader.find(offset) if reader.open() else 0
    if not reader.open() or number >= reader.count():
        last = reader.last_record()
        return [0, 0] if last is None else end_positions(last)
    record = reader.record(number)
    if not record.length:
        raise Dropped
    beyond = max(0, offset - record.offset)
    return [record.at(stream) + (beyond if stream == record.stream else 0) for stream in BOTH]


def end_positions(last: Record) -> list[int]:
    """Return how many bytes of each stream there are after a record."""
    return [last.at(stream) + (last.length if stream == last.stream else 0) for stream in BOTH]


class Locator:
    """Finds the record of each position in a stream; the positions that are asked for should ascend."""

    def __init__(self, reader: LogReader, stream: int) -> None:
        self._reader = reader
        self._stream = stream
        # The record that was found last, and its number.
        self._number = 0
        self._record: Record | None = None

    def record(self, position: int) -> Record:
        """Return the record that has the byte at a position; raise Dropped if none has it."""
        known = self._record
        if known is None or not known.position <= position < known.position + known.length:
            known = self._record = self._search(position)
        return known

    def offset(self, position: int) -> int:
        """Return the offset of the byte at a position; raise Dropped."""
        record = self.record(position)
        return record.offset + position - record.position

    def _search(self, position: int) -> Record:
        reader, stream, count = self._reader, self._stream, self._reader.count()
        low = self._number
        known = self._record
        if known is None or known.position > position or not reader.record(low).length:
            low = 0
        step = 1
        while low + step < count and reader.record(low + step).at(stream) <= position:
            low, step = low + step, step * 2
        bounds = range(low, min(count, low + step))
        self._number = low + bisect_right(bounds, position, key=lambda n: reader.record(n).at(stream)) - 1
        record = reader.record(max(0, self._number))
        if record.stream != stream or not record.position <= position < record.position + record.length:
            raise Dropped
        return record
