"""A log that is written by hand, arrival by arrival, as the pump writes it."""

import struct
from binascii import crc32
from pathlib import Path

from jobworker.logs.reader import CHUNK_BYTES, Chunk, LogReader

RECORD = struct.Struct("<QQQIBB2x")
FIRST = struct.Struct("<QQI12x")
ALL = ("out", "err", "index")


class Writer:
    """Write a log as the pump does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.merged: list[tuple[int, int]] = []  # stream and value of every byte
        self.positions = [0, 0]
        self.records = 0
        for name in ("index", "out", "err"):
            (folder / name).touch()

    def arrive(self, stream: int, data: bytes) -> None:
        with (self.folder / ("out", "err")[stream]).open("ab") as file:
            file.write(data)
        self.records += 1
        self._record(stream, len(data), 0)
        self.merged += [(stream, byte) for byte in data]

    def lose(self, stream: int, length: int, gap: int = 1) -> None:
        """Leave a gap."""
        self.records += 1
        self._record(stream, length, gap)
        self.merged += [(stream, -1)] * length
        with (self.folder / ("out", "err")[stream]).open("ab") as file:
            file.truncate(self.positions[stream])

    def _record(self, stream: int, length: int, gap: int) -> None:
        offset = sum(self.positions)
        record = RECORD.pack(self.records * 100, offset, self.positions[stream], length, stream, gap)
        with (self.folder / "index").open("ab") as file:
            file.write(record)
        self.positions[stream] += length

    def drop(self, record: int, *names: str) -> int:
        """Drop what stands before a record, as far as the files named; return the offset of the rest."""
        index = (self.folder / "index").read_bytes()
        _, offset, position, _, stream, _ = RECORD.unpack_from(index, record * RECORD.size)
        number = FIRST.pack(record, offset, 0)[:16]
        (self.folder / "first").write_bytes(bytes(FIRST.size) + number + struct.pack("<I12x", crc32(number)))
        before = [offset - position, offset - position]
        before[stream] = position
        lengths = {"out": before[0], "err": before[1], "index": record * RECORD.size}
        for name in names:
            with (self.folder / name).open("r+b") as file:
                file.write(bytes(lengths[name]))
        return int(offset)


def read_from(reader: LogReader, offset: int, limit: int = CHUNK_BYTES) -> list[tuple[int, int]]:
    """Read to the end, checking that chunks stand side by side."""
    found: list[tuple[int, int]] = []
    while chunk := reader.read(offset, limit):
        assert isinstance(chunk, Chunk)
        assert chunk.offset == offset
        assert 0 < len(chunk.data) <= limit
        found += [(chunk.stream, byte) for byte in chunk.data]
        offset = chunk.end
    return found
