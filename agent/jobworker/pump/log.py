"""Move the bytes of one job from its FIFOs to its log, and index them.

``splice`` never takes a byte out of a pipe without putting it into the file, so the process may be killed at any
moment: the next pump indexes what the files hold beyond the index.
"""

import binascii
import ctypes
import errno
import fcntl
import os
import time

from jobworker.formats.log_index import FIRST, NO_ROOM, RECORD, REFUSED, STREAMS
from jobworker.linux.syscalls import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, LIBC

CHUNK = 65536  # the size of a default pipe
WIDE = 262144  # the size of the pipe of a job that fills one, and what is moved at once
RETRY = 0.2  # seconds between two attempts at a log that cannot be written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST = 0xFFFFFFFF  # bytes that one record can cover


class Stalled(Exception):
    """The log cannot be written now; its bytes stay in the pipe."""


class Log:
    """One job's FIFOs and, from their first byte on, its files.

    Where the disk is full, the job waits; with `drops` its bytes are thrown away, and a record says how many.
    The log holds `bound` bytes at most (0: no bound): the newest, so that the oldest are dropped, or else the
    oldest, and what comes when it is full is refused.
    """

    def __init__(
        self, job: str, folder: str, pipes: list[int], *, drops: bool, bound: int = 0, newest: bool = True
    ) -> None:
        self.job = job
        self.folder = folder
        self.drops = drops
        self.bound = bound
        self.chunk = min(WIDE, bound // 8) if bound else WIDE
        self.newest = newest
        self.full = False  # for good: what comes is refused
        self.dropped = [0, 0]  # bytes that no record tells of yet
        self.refused = 0
        self.truncated = False
        self.pipes: list[int | None] = [*pipes, None][: len(STREAMS)]  # one for both where they are merged
        self.wide = [False, False]
        self.files: list[int] = []
        self.index = -1
        self.records = 0
        self.positions = [0, 0]
        self.first = (0, 0)  # the oldest record that is kept: its number, its offset
        self.copy = 1  # which of the two copies on disk says so
        self.punched = 0  # the oldest record before which all is punched
        self.owed: bytes | None = None  # a record whose bytes are in the file already

    @property
    def behind(self) -> bool:
        """Whether records are to be written, though nothing more should come."""
        return self.owed is not None or any(self.dropped) or self.refused > 0

    def pump(self, stream: int, splices: bool) -> int:
        """Move one chunk; return its length.

        Raises BlockingIOError where the pipe is empty and Stalled where the log cannot be written.
        """
        pipe = self.pipes[stream]
        assert pipe is not None
        try:
            self.open()
            if not self.full:
                self.settle()
            room = self._room()
            if not room:
                return self._refuse(len(os.read(pipe, CHUNK)))
            lost = 0
            if splices:
                length = os.splice(pipe, self.files[stream], room, flags=os.SPLICE_F_NONBLOCK)
            else:
                length, lost = copy(pipe, self.files[stream], drops=self.drops, limit=min(room, CHUNK))
            if length:
                self._record(stream, length)
                self.settle()
            if length >= CHUNK // 2 and splices and self.chunk == WIDE and not self.wide[stream]:
                self._widen(stream, pipe)
            return length + self._drop(stream, lost)
        except BlockingIOError:
            raise
        except OSError as error:
            if self.drops and error.errno in FULL:
                return self._drop(stream, len(os.read(pipe, CHUNK)))
            raise Stalled(errno.errorcode.get(error.errno or 0, "?")) from error

    def _widen(self, stream: int, pipe: int) -> None:
        """Let a job that fills its pipe write on while the pump is at others: it need not wait for each chunk.

        Only where all of it is moved at once: what is left in one pipe would come after the other stream's news.
        """
        self.wide[stream] = True
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE)
        except OSError:  # the user has as many pages in pipes as the kernel grants
            pass

    def _drop(self, stream: int, length: int) -> int:
        self.dropped[stream] += length
        self.truncated |= length > 0
        return length

    def _refuse(self, length: int) -> int:
        """Count what is thrown away; a record tells of it a moment later, and not of each chunk."""
        self.refused += length
        self.truncated |= length > 0
        return length

    def open(self) -> None:
        """Open or create the files, alone (flock), and finish what a predecessor began."""
        if self.index >= 0:
            return
        os.makedirs(self.folder, 0o700, exist_ok=True)
        index = os.open(f"{self.folder}/index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        files: list[int] = []
        try:
            try:
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EBUSY, "another pump holds this log") from None
            for name in STREAMS:
                files.append(os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._recover(index, files)
            self._read_first()
            self._punch(index, files)
        except OSError:
            for fd in (index, *files):
                os.close(fd)
            raise
        self.index, self.files = index, files

    def _recover(self, index: int, files: list[int]) -> None:
        self.records = os.fstat(index).st_size // RECORD.size
        self.positions = [0, 0]
        if self.records:
            last = os.pread(index, RECORD.size, (self.records - 1) * RECORD.size)
            _, offset, position, length, stream, gap = RECORD.unpack(last)
            self.positions[stream] = position + length
            self.positions[1 - stream] = offset - position
            self.truncated |= gap == REFUSED
        for stream, fd in enumerate(files):
            left = os.lseek(fd, 0, os.SEEK_END) - self.positions[stream]
            if left < 0:  # the log ends with a gap
                os.lseek(fd, self.positions[stream], os.SEEK_SET)
            while left > 0:
                length = min(left, LONGEST)
                self._record(stream, length)
                left -= length
                os.pwrite(index, self.owed or b"", self.records * RECORD.size)
                self.records, self.owed = self.records + 1, None

    def _record(self, stream: int, length: int, gap: int = 0) -> None:
        position = self.positions[stream]
        self.owed = RECORD.pack(time.time_ns(), sum(self.positions), position, length, stream, gap)
        self.positions[stream] = position + length

    def settle(self) -> None:
        """Write the records that are owed; after a gap the stream goes on beyond a hole in its file."""
        self._write_owed()
        for stream in (0, 1):
            while self.dropped[stream]:
                self.dropped[stream] -= self._gap(stream, self.dropped[stream], NO_ROOM)
                os.lseek(self.files[stream], self.positions[stream], os.SEEK_SET)
                self._write_owed()
        while self.refused:  # of both streams: nothing comes after it, in whose order they could matter
            self.refused -= self._gap(0, self.refused, REFUSED)
            self._write_owed()

    def _gap(self, stream: int, length: int, reason: int) -> int:
        """Record a gap, in the last record where that is one of the same kind; return how much it took."""
        if self.records:
            place = (self.records - 1) * RECORD.size
            _, offset, position, known, *kind = RECORD.unpack(os.pread(self.index, RECORD.size, place))
            if kind == [stream, reason] and known < LONGEST:
                length = min(length, LONGEST - known)
                grown = RECORD.pack(time.time_ns(), offset, position, known + length, stream, reason)
                os.pwrite(self.index, grown, place)
                self.positions[stream] += length
                return length
        length = min(length, LONGEST)
        self._record(stream, length, reason)
        return length

    def _write_owed(self) -> None:
        """Write a record, always at its own place: a torn write is overwritten."""
        if self.owed is None:
            return
        if os.pwrite(self.index, self.owed, self.records * RECORD.size) != RECORD.size:
            raise OSError(errno.ENOSPC, "index")
        self.records, self.owed = self.records + 1, None

    # The bound

    def _room(self) -> int:
        """Return how much of the next chunk the log may take, after making room where that is its way."""
        if not self.bound:
            return self.chunk
        kept = sum(self.positions) - self.first[1]
        if kept + self.chunk <= self.bound and self._index_has_room() and self.punched == self.first[0]:
            return self.chunk
        if self.newest:
            self._drop_oldest()
        if self.newest:
            return self.chunk
        room = min(self.chunk, max(0, self.bound - kept)) if self._index_has_room() else 0
        self.full = not room
        return room

    def _index_has_room(self) -> bool:
        return (self.records - self.first[0] + 1) * RECORD.size <= self.bound

    def _drop_oldest(self) -> None:
        """Keep an eighth less than the bound; `first` says so before anything is gone."""
        share = self.bound // 8 * 7
        oldest = sum(self.positions) - share
        low, high = max(self.first[0], self.records - share // RECORD.size), self.records - 1  # the last one stays
        while low < high:
            middle = (low + high) // 2
            if self._offset_of(middle) < oldest:
                low = middle + 1
            else:
                high = middle
        if low > self.first[0]:
            self._write_first(low, self._offset_of(low))
        self._punch(self.index, self.files)

    def _offset_of(self, record: int) -> int:
        return int(RECORD.unpack(os.pread(self.index, RECORD.size, record * RECORD.size))[1])

    def _punch(self, index: int, files: list[int]) -> None:
        """Give back to the disk what stands before the first record; nothing moves."""
        record = self.first[0]
        if self.punched == record:
            return
        _, offset, position, _, stream, _ = RECORD.unpack(os.pread(index, RECORD.size, record * RECORD.size))
        try:
            punch(files[stream], position)
            punch(files[1 - stream], offset - position)
            punch(index, record * RECORD.size)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self.newest = False  # here the bound cannot be held in this way
        self.punched = record

    def _read_first(self) -> None:
        """Read the newer one of the two copies that are whole."""
        try:
            file = os.open(f"{self.folder}/first", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            copies = [os.pread(file, FIRST.size, place * FIRST.size) for place in (0, 1)]
        finally:
            os.close(file)
        for place, data in enumerate(copies):
            if len(data) == FIRST.size:
                record, offset, check = FIRST.unpack(data)
                if check == binascii.crc32(data[:16]) and record > self.first[0]:
                    self.first, self.copy = (record, offset), place

    def _write_first(self, record: int, offset: int) -> None:
        """Overwrite the older copy: who is killed in it, or reads meanwhile, has the other."""
        data = FIRST.pack(record, offset, binascii.crc32(FIRST.pack(record, offset, 0)[:16]))
        file = os.open(f"{self.folder}/first", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.pwrite(file, data, (1 - self.copy) * FIRST.size) != FIRST.size:
                raise OSError(errno.ENOSPC, "first")
        finally:
            os.close(file)
        self.first, self.copy = (record, offset), 1 - self.copy

    def close(self) -> int:
        """Return the number of bytes in the log."""
        try:
            if self.index < 0 and (any(self.dropped) or os.path.exists(f"{self.folder}/index")):
                self.open()
            self.settle()
        except OSError as error:
            if not self.drops or error.errno not in FULL:
                raise
            self.truncated = True  # what no record tells of is not in the log
        size = sum(self.positions) if self.owed is None else RECORD.unpack(self.owed)[1]
        for fd in (self.index, *self.files):
            if fd >= 0:
                os.close(fd)
        self.index, self.files = -1, []
        return size


def punch(file: int, length: int) -> None:
    """Turn the first bytes of a file into a hole."""
    start, length_ = ctypes.c_int64(0), ctypes.c_int64(length)
    if length and LIBC.fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length_):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def copy(pipe: int, file: int, *, drops: bool, limit: int = CHUNK) -> tuple[int, int]:
    """Read, then write, where the file system refuses splice: a kill in between loses the chunk.

    Return how many bytes were written and how many dropped.
    """
    data = os.read(pipe, limit)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view) :]
        except OSError as error:
            if drops and error.errno in FULL:
                break
            time.sleep(RETRY)  # these bytes are nowhere else any more
    return len(data) - len(view), len(view)


def can_splice(folder: str) -> bool:
    """Try splice on the file system of the logs."""
    reader, writer = os.pipe()
    name = f"{folder}/.splice.{os.getpid()}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(writer, b"x")
            return os.splice(reader, file, 1) == 1
        finally:
            os.close(file)
            os.unlink(name)
    except OSError as error:
        return error.errno != errno.EINVAL
    finally:
        os.close(reader)
        os.close(writer)


def can_punch(folder: str) -> bool:
    """Try a hole on the file system of the logs."""
    name = f"{folder}/.punch.{os.getpid()}"
    try:
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            punch(file, 1)
            return True
        finally:
            os.close(file)
            os.unlink(name)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS)
