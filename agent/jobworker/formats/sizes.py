"""The file `sizes` of a log: the sizes that a job's terminal has got since its start. The keeper writes it.

A record stands for the size of all output from its offset on. The terminal changes while output is on its way, so
the offset counts also what the job had written by then and the log does not have yet.
"""

from binascii import crc32
from collections.abc import Iterable
from struct import Struct

_SIZE = Struct("<QQHHI")  # time ns, offset in the log, rows, columns, a checksum of these
SIZE_BYTES = _SIZE.size
MAX_RECORDS = 4096  # in the file; beyond that the older half is dropped

Size = tuple[int, int, int, int]  # time ns, offset, rows, columns


def encode(size: Size) -> bytes:
    data = _SIZE.pack(*size, 0)
    return data[:-4] + crc32(data[:-4]).to_bytes(4, "little")


def decode(data: bytes) -> list[Size]:
    """Return the records in the order of their times; those that were not written completely are left out."""
    whole = data[: len(data) - len(data) % SIZE_BYTES]
    records = _SIZE.iter_unpack(whole)
    checks = (crc32(whole[at : at + SIZE_BYTES - 4]) for at in range(0, len(whole), SIZE_BYTES))
    return sorted({record[:4] for record, check in zip(records, checks, strict=True) if record[4] == check})


def added(data: bytes, size: Size) -> tuple[int, bytes]:
    """Return where in the file, which holds `data`, to write what, for one more size; the file ends behind that."""
    records = decode(data[-SIZE_BYTES:])
    if records and records[0][1] == size[1]:  # no output between the two: only the last one matters
        return len(data) - SIZE_BYTES, encode(size)
    if len(data) < MAX_RECORDS * SIZE_BYTES:
        return len(data) - len(data) % SIZE_BYTES, encode(size)
    return 0, _encode_all([*decode(data)[-MAX_RECORDS // 2 :], size])


def _encode_all(sizes: Iterable[Size]) -> bytes:
    return b"".join(map(encode, sizes))
