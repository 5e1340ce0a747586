"""Move the bytes of one job from its FIFOs to its log, and index them.

``splice`` takes no byte out of a pipe that it does not put into the file, so the process may be killed at any moment:
the next pump indexes the bytes that the files hold beyond the index.
"""

import binascii
import errno
import fcntl
import os
import time
from bisect import bisect_right

from jobworker.formats.log_index import FIRST, NO_ROOM, RECORD, REFUSED, STREAMS
from jobworker.formats.read_mark import MARK_BYTES, decode, room_for_unread
from jobworker.linux.beneath import make_log_folder, open_in_log, read_in_log
from jobworker.linux.terminal import unread
from jobworker.pump.file_system import CHUNK, FULL, copy, punch
from jobworker.pump.masked import MaskedPipes
from jobworker.pump.waiting import HELD_SECONDS, Held, Stalled

WIDE = 262144  # bytes: the size that a pipe gets once a job fills it, and the most that is moved at once
LONGEST = 0xFFFFFFFF  # bytes that one record can cover


class Log:
    """The FIFOs of one job and, from their first byte on, the files of its log.

    If the disk is full, the job waits; with `drops` the pump throws the bytes away, and a record counts them.
    The log holds at most `bound` bytes (0: no bound). If `newest`, the oldest bytes are dropped to make room; else
    the log keeps its first bytes and refuses the rest.
    """

    def __init__(
        self,
        job: str,
        folder: str,
        pipes: list[int],
        *,
        drops: bool,
        bound: int = 0,
        newest: bool = True,
        new: bool = False,
        waits: bool = False,
        masked: MaskedPipes | None = None,
    ) -> None:
        self.job = job
        self.folder = folder
        self.drops = drops
        self.bound = bound
        self.chunk = min(WIDE, bound // 8) if bound else WIDE  # bytes that one call of `pump` moves at most
        self.newest = newest
        self.new = new  # no pump before this one can have made files
        self.waits = waits and newest  # the job waits for its readers in place of the oldest bytes being dropped
        self.masked = masked  # looks for secrets in the output; None: it has none, and no byte of it is looked at
        self.patience = HELD_SECONDS  # until it is looked whether more was read
        self.read = 0  # the offset up to which its readers have read, as far as is known
        self.full = False  # the log has reached its bound for good: further bytes are refused
        self.limited = False  # a file has reached the limit of file sizes (ulimit -f), and the job has ended
        self.dropped = [0, 0]  # by stream: bytes thrown away on a full disk that no record counts yet
        self.refused = 0  # bytes beyond the bound that no record counts yet
        self.truncated = False  # bytes of the job were thrown away in place of being written
        self.pipes: list[int | None] = [*pipes, None][: len(STREAMS)]  # by stream; one pipe if both are merged
        self.widened = [False, False]  # by stream: its pipe was given the size WIDE, or the kernel refused
        self.files: list[int] = []  # descriptors of `out` and `err`; empty until the first byte
        self.index = -1  # descriptor of `index`, locked against another pump; -1: not open
        self.records = 0  # records in the index, those that were punched included
        self.positions = [0, 0]  # by stream: the length that all records cover, which is where its file goes on
        self.first = (0, 0)  # the number of the oldest record that is kept, and the offset of the oldest byte
        self.copy = 1  # which of the two copies in the file `first` is the newer one
        self.punched = (0, 0)  # the value of `first` up to which the files are punched
        self.holes = [0, 0, 0]  # where the holes end in `out`, `err` and `index`
        self.unwritten: bytes | None = None  # a record whose bytes are in the file, but which the index lacks

    @property
    def has_unwritten_records(self) -> bool:
        """Whether records are still to be written, even if the job writes no more."""
        return self.unwritten is not None or any(self.dropped) or self.refused > 0

    def pump(self, stream: int, splices: bool, *, last: bool = False) -> int:
        """Move one chunk; return its length in bytes, 0 at the end of the stream. `last`: every write end is closed.

        Raises BlockingIOError if the pipe is empty, and Stalled if the log cannot be written.
        """
        pipe = self.pipes[stream]
        assert pipe is not None
        try:
            self.open()  # at the first byte: a job that writes nothing has no files
            if not (self.full or self.limited):
                self.write_records()  # before the next bytes: else they would stand at the wrong offset
            room = 0 if self.limited else self._room(pipe, last=last)
            if not room:
                return self._refuse(len(os.read(pipe, CHUNK)))
            lost = 0
            if self.masked is not None:
                taken, length = self.masked.move(pipe, self.files[stream], room, last=last)
                if taken:
                    self._record(stream, length)
                    self.write_records()
                return taken
            if splices:
                length = os.splice(pipe, self.files[stream], room, flags=os.SPLICE_F_NONBLOCK)
            else:
                length, lost = copy(pipe, self.files[stream], drops=self.drops, limit=min(room, CHUNK))
            if length:
                self._record(stream, length)
                self.write_records()  # readers see the bytes from here on
            if length >= CHUNK // 2 and splices and self.chunk == WIDE and not self.widened[stream]:
                self._widen(stream, pipe)
            return length + self._drop(stream, lost)
        except (BlockingIOError, Held):
            raise
        except OSError as error:
            if self.drops and error.errno in FULL:
                return self._drop(stream, len(os.read(pipe, CHUNK)))
            raise Stalled(error.errno or 0) from error

    def _widen(self, stream: int, pipe: int) -> None:
        """Enlarge the pipe of a job that fills it, so that the job can write while the pump serves other jobs.

        Not if less than a full pipe is moved at once: the rest would come after what the other stream got later.
        """
        self.widened[stream] = True
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, WIDE)
        except OSError:  # the user has reached the kernel's limit of memory for pipes: the small pipe works too
            pass

    def _drop(self, stream: int, length: int) -> int:
        """Count bytes that were thrown away because the disk is full; return their number."""
        self.dropped[stream] += length
        self.truncated |= length > 0
        return length

    def _refuse(self, length: int) -> int:
        """Count bytes that were thrown away because the log is full; one record will count many such chunks."""
        self.refused += length
        self.truncated |= length > 0
        return length

    def open(self) -> None:
        """Open or create the files, lock them against another pump, and finish what the pump before has begun."""
        if self.index >= 0:
            return
        make_log_folder(self.folder)
        index = open_in_log(self.folder, "index", os.O_RDWR | os.O_CREAT)
        files: list[int] = []
        try:
            try:
                fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EBUSY, "another pump holds this log") from None
            for name in STREAMS:
                files.append(open_in_log(self.folder, name, os.O_WRONLY | os.O_CREAT))
            self._recover(index, files)
            self._read_first()
            self._punch(index, files)
        except OSError:
            for fd in (index, *files):
                os.close(fd)
            raise
        self.index, self.files = index, files

    def _recover(self, index: int, files: list[int]) -> None:
        """Read from the index where both streams end, and index the bytes that the files have beyond that."""
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
            if left < 0:  # the log ends with a gap, which has no bytes in the file
                os.lseek(fd, self.positions[stream], os.SEEK_SET)
            while left > 0:
                length = min(left, LONGEST)
                self._record(stream, length)
                left -= length
                os.pwrite(index, self.unwritten or b"", self.records * RECORD.size)
                self.records, self.unwritten = self.records + 1, None

    def _record(self, stream: int, length: int, gap: int = 0) -> None:
        """Make the record of the next bytes of a stream, to be written by `_write_unwritten`."""
        position = self.positions[stream]
        self.unwritten = RECORD.pack(time.time_ns(), sum(self.positions), position, length, stream, gap)
        self.positions[stream] = position + length

    def write_records(self) -> None:
        """Write all records that the index lacks; raise OSError.

        A gap is a hole in the stream's file: the next bytes go behind it.
        """
        self._write_unwritten()
        for stream in (0, 1):
            while self.dropped[stream]:
                self.dropped[stream] -= self._gap(stream, self.dropped[stream], NO_ROOM)
                os.lseek(self.files[stream], self.positions[stream], os.SEEK_SET)
                self._write_unwritten()
        while self.refused:  # bytes of both streams count as `out`: nothing follows, so their order does not matter
            self.refused -= self._gap(0, self.refused, REFUSED)
            self._write_unwritten()

    def _gap(self, stream: int, length: int, reason: int) -> int:
        """Record a gap, by extending the last record if that is the same kind of gap; return the bytes it covers."""
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

    def _write_unwritten(self) -> None:
        """Write the record, always at its own place in the index: a torn write is overwritten."""
        if self.unwritten is None:
            return
        if os.pwrite(self.index, self.unwritten, self.records * RECORD.size) != RECORD.size:
            raise OSError(errno.ENOSPC, "index")
        self.records, self.unwritten = self.records + 1, None

    # The bound

    def _room(self, pipe: int, *, last: bool) -> int:
        """Return how many bytes the log can take now, after dropping the oldest if the log keeps the newest."""
        if not self.bound or (last and self.waits):  # no job waits any more: what is in its pipe exceeds the bound
            return self.chunk
        kept = sum(self.positions) - self.first[1]
        if kept + self.chunk <= self.bound and self._index_has_room() and self.punched == self.first:
            return self.chunk
        if self.newest:
            arrived = min(self.chunk, unread(pipe), self._readable_room() if self.waits else self.chunk)
            self._drop_oldest(arrived)
            if self.newest:  # still: the file system has not refused holes
                return arrived or 1  # at the end of the stream nothing is dropped
        room = min(self.chunk, max(0, self.bound - kept)) if self._index_has_room() else 0
        self.full = not room
        return room

    def _readable_room(self) -> int:
        """Return how many bytes fit if only what was read is dropped; raise Held if none does."""
        self.read = max(self.read, decode(read_in_log(self.folder, "read", MARK_BYTES)))
        room = room_for_unread(self.read, self.first[1], sum(self.positions), self.bound)
        if room <= 0 or (not self._index_has_room() and self._offset_of(self._border()) > self.read):
            raise Held
        return room

    def _border(self) -> int:
        """Return the record before which an eighth of the index is dropped; the last one always stays."""
        return min(self.records - 1, self.records - self.bound // 8 * 7 // RECORD.size)

    def _index_has_room(self) -> bool:
        """Whether the index stays within the bound with one more record: with tiny writes it is the larger file."""
        return (self.records - self.first[0] + 1) * RECORD.size <= self.bound

    def _drop_oldest(self, arrived: int) -> None:
        """Drop the oldest bytes, as many as the next ones exceed the bound; raise OSError.

        The oldest record may lose a part. If the index has no room, an eighth of its records is dropped.
        `first` is written before the bytes are dropped: a pump that is killed in between finishes the punching.
        """
        oldest = max(self.first[1], sum(self.positions) + arrived - self.bound)
        # The last record always stays: it has the offset at which the log goes on.
        record = max(self.first[0], bisect_right(range(self.records - 1), oldest, key=self._offset_of) - 1)
        if not self._index_has_room():
            record = max(record, self._border())
            oldest = max(oldest, self._offset_of(record))
        if (record, oldest) > self.first:
            self._write_first(record, oldest)
        self._punch(self.index, self.files)

    def _offset_of(self, record: int) -> int:
        return int(RECORD.unpack(os.pread(self.index, RECORD.size, record * RECORD.size))[1])

    def _punch(self, index: int, files: list[int]) -> None:
        """Free the disk space before the oldest record that is kept; offsets and positions stay as they are."""
        if self.punched == self.first:
            return
        record, oldest = self.first
        _, offset, position, _, stream, _ = RECORD.unpack(os.pread(index, RECORD.size, record * RECORD.size))
        ends = [offset - position, offset - position, record * RECORD.size]
        ends[stream] = position + oldest - offset
        try:
            for place, (file, end) in enumerate(zip((*files, index), ends, strict=True)):
                punch(file, end, self.holes[place])
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            self.newest = False  # without holes the bound can only be held by refusing further bytes
        self.punched, self.holes = self.first, ends

    def _read_first(self) -> None:
        """Read the file `first`: of two copies the newer one whose checksum is right."""
        try:
            file = open_in_log(self.folder, "first", os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            copies = [os.pread(file, FIRST.size, place * FIRST.size) for place in (0, 1)]
        finally:
            os.close(file)
        for place, data in enumerate(copies):
            if len(data) == FIRST.size:
                record, offset, check = FIRST.unpack(data)
                if check == binascii.crc32(data[:16]) and (record, offset) > self.first:
                    self.first, self.copy = (record, offset), place

    def _write_first(self, record: int, offset: int) -> None:
        """Overwrite the older copy in `first`: a kill in the middle of it, or a reader, still finds the other."""
        data = FIRST.pack(record, offset, binascii.crc32(FIRST.pack(record, offset, 0)[:16]))
        file = open_in_log(self.folder, "first", os.O_WRONLY | os.O_CREAT)
        try:
            if os.pwrite(file, data, (1 - self.copy) * FIRST.size) != FIRST.size:
                raise OSError(errno.ENOSPC, "first")
        finally:
            os.close(file)
        self.first, self.copy = (record, offset), 1 - self.copy

    def _has_files(self) -> bool:
        return not self.new and os.path.exists(f"{self.folder}/index")

    def close(self) -> int:
        """Write what is left to be written, close the files, and return the number of bytes in the log."""
        try:
            if self.index < 0 and (any(self.dropped) or self._has_files()):
                self.open()
            self.write_records()
        except OSError as error:
            if not (self.drops or self.limited) or error.errno not in FULL:
                raise
            self.truncated = True  # the bytes that no record counts are missing in the log
        size = sum(self.positions) if self.unwritten is None else RECORD.unpack(self.unwritten)[1]
        for fd in (self.index, *self.files):
            if fd >= 0:
                os.close(fd)
        self.index, self.files = -1, []
        if self.masked is not None:
            self.masked.close()
            self.masked = None
        return size
