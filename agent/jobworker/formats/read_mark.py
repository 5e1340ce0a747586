"""The file `read` of a log: how far its readers have read. The agent writes it, the pump drops nothing beyond it."""

from binascii import crc32
from struct import Struct

_MARK = Struct("<QI")  # the offset, a checksum of it
MARK_BYTES = _MARK.size


def encode(offset: int) -> bytes:
    return _MARK.pack(offset, crc32(offset.to_bytes(8, "little")))


def decode(data: bytes) -> int:
    """Return the offset; 0 if no reader has written one, or not completely."""
    if len(data) < MARK_BYTES:
        return 0
    offset, check = _MARK.unpack(data)
    return int(offset) if check == crc32(data[:8]) else 0


def room_for_unread(mark: int, first: int, end: int, bound: int) -> int:
    """Return how many bytes fit into a log if only what was read is dropped; 0 or less: none.

    The half of the bound that was read last stays: a reader that lost its connection goes on there. `first` and
    `end` are the offsets of the log.
    """
    return max(first, mark - bound // 2) + bound - end
