"""Note in the log of a job how far its readers have read, for a job that waits for them when its log is full."""

import os
from contextlib import suppress

from jobworker.formats.read_mark import MARK_BYTES, decode, encode, room_for_unread
from jobworker.linux.beneath import open_in_log, read_in_log
from jobworker.logs.reader import LogReader


class ReadMark:
    """The file `read` of one log: the lowest offset of those that follow it. The pump reads it, and drops no more."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._offsets: dict[object, int] = {}  # by cursor
        self._written = 0

    def note(self, cursor: object, offset: int) -> None:
        """Note that a cursor has sent all before this offset."""
        self._offsets[cursor] = offset
        self._write(min(self._offsets.values()))

    def forget(self, cursor: object) -> bool:
        """Note that a cursor reads no more; return whether none is left."""
        self._offsets.pop(cursor, None)
        if self._offsets:
            self._write(min(self._offsets.values()))
        return not self._offsets

    def _write(self, offset: int) -> None:
        if offset <= self._written:
            return
        with suppress(OSError):  # no log yet, or no room: the next offset is tried
            file = open_in_log(self._folder, "read", os.O_WRONLY | os.O_CREAT)
            try:
                os.pwrite(file, encode(offset), 0)
            finally:
                os.close(file)
            self._written = offset


def is_full_of_unread(folder: str, bound: int) -> bool:
    """Whether a log that holds at most `bound` bytes has no room before more of it was read."""
    reader = LogReader(folder)
    try:
        mark = decode(read_in_log(folder, "read", MARK_BYTES))
        return room_for_unread(mark, reader.first(), reader.size(), bound) <= 0
    finally:
        reader.close()
