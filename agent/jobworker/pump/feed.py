"""Move the input of jobs from their spools to their pipes.

``splice`` with the position of the open file moves the bytes and the position in one call, so this process may be
killed at any moment: keeper and pump share the open file, and the next pump goes on at the exact byte.
"""

import errno
import fcntl
import os
import select
import sys
from collections import deque
from collections.abc import Iterator

from jobworker.formats.spool import SEGMENT, accepted_bytes, next_byte
from jobworker.linux.inotify import (
    IN_ATTRIB,
    IN_IGNORED,
    IN_MODIFY,
    add_watch,
    new_inotify,
    read_events,
    remove_watch,
)
from jobworker.pump.file_system import CHUNK

WIDE = 262144  # bytes: the size that a pipe gets once there is more input than it takes
POLL_SECONDS = 0.05  # between two looks at the spools that the kernel does not watch
CHUNKS = 4  # that are moved for one job before the next one has its turn
# How an input ends: the last byte was moved, no process reads it any more, or the spool cannot be read.
CLOSED, BROKEN, FAILED = "closed", "broken", "failed"


class Feed:
    """The open input of one job."""

    def __init__(self, job: str, pipe: int, files: list[int]) -> None:
        self.job = job
        self.pipe = pipe  # the write end
        self.files = files  # the spool, shared with the keeper
        self.watches: list[int] = []  # the numbers of the inotify watches; empty: the kernel refused them
        self.waiting = False  # whether the pipe is full, and epoll reports when it is not
        self.wide = False  # the pipe was given the size WIDE, or the kernel refused

    def move(self) -> bool:
        """Move what the pipe takes; return whether there may be more to move, when it takes more.

        Raises EOFError at the end of the input, BrokenPipeError if no process reads it, and OSError for a bad spool.
        """
        for _ in range(CHUNKS):
            accepted, closed = accepted_bytes(self.files)
            number, place = next_byte(self.files)
            self._recycle(number)
            if place == accepted:
                if closed:
                    raise EOFError
                return False
            file = self.files[number]
            end = min(os.fstat(file).st_size, place - place % SEGMENT + SEGMENT)
            os.lseek(file, place, os.SEEK_SET)  # over the other file's segment, the first time
            try:
                if not self._splice(file, end - place):
                    raise OSError(errno.EIO, "the spool is shorter than it was")
            except BlockingIOError:
                if not self.wide:
                    self._widen()
                return True
        return True

    def _splice(self, file: int, length: int) -> int:
        try:
            return os.splice(file, self.pipe, length, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without splice: a kill between the two calls writes these bytes a second time.
            place = os.lseek(file, 0, os.SEEK_CUR)
            written = os.write(self.pipe, os.pread(file, min(length, CHUNK), place))
            os.lseek(file, place + written, os.SEEK_SET)
            return written

    def _recycle(self, number: int) -> None:
        """Empty the other file if the job was given all of it: the agent waits for that to fill it again."""
        other, size = self.files[1 - number], os.fstat(self.files[1 - number]).st_size
        if 0 < size < os.fstat(self.files[number]).st_size:
            os.ftruncate(other, 0)

    def _widen(self) -> None:
        self.wide = True
        try:
            fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, WIDE)
        except OSError:  # the user has reached the kernel's limit of memory for pipes: the small pipe works too
            pass


class Feeds:
    """All open inputs: which have something to move, and which have ended since the last report."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._by_job: dict[str, Feed] = {}
        self._by_pipe: dict[int, Feed] = {}
        self._by_watch: dict[int, Feed] = {}
        self._polled: set[Feed] = set()  # those that the kernel does not watch
        self.ended: dict[str, str] = {}  # by job: how its input ended, what no keeper has received yet
        self._offers: deque[str] = deque()  # jobs whose input a new keeper has to receive
        self._inotify = -1  # opened for the first input

    def __len__(self) -> int:
        return len(self._by_job)

    def has(self, fd: int) -> bool:
        """Whether epoll's news of this descriptor is for `serve`."""
        return fd in self._by_pipe or fd == self._inotify

    def timeout(self) -> float:
        """Return the seconds until spools are looked at without news; -1: that is not necessary."""
        return POLL_SECONDS if self._polled else -1

    def offer_all(self) -> list[str]:
        """Have a new keeper get all open input: the positions in it exist nowhere else. Return the jobs to come."""
        self._offers = deque(self._by_job)
        return [*self._by_job, *self.ended]

    def news(self) -> Iterator[tuple[dict[str, object], list[int]]]:
        """Yield what the keeper has to receive, with descriptors; what was sent when the next one is asked for."""
        while self.ended:
            job, how = next(iter(self.ended.items()))
            yield {"input_end": job, "how": how}, []
            del self.ended[job]
        while self._offers:
            if feed := self._by_job.get(self._offers[0]):  # else it has ended since
                yield {"input": feed.job}, [feed.pipe, *feed.files]
            self._offers.popleft()

    def add(self, job: str, fds: list[int]) -> None:
        """Take the pipe and the spool of a job, unless they are known, and move what is there."""
        if job in self._by_job or len(fds) != 3:
            for fd in fds:
                os.close(fd)
            return
        feed = Feed(job, fds[0], fds[1:])
        self._by_job[job] = self._by_pipe[feed.pipe] = feed
        self._epoll.register(feed.pipe, 0)  # EPOLLERR alone: no process reads it any more
        try:
            if self._inotify < 0:
                self._inotify = new_inotify()
                self._epoll.register(self._inotify, select.EPOLLIN)
            for file in feed.files:
                feed.watches.append(add_watch(self._inotify, f"/proc/self/fd/{file}", IN_MODIFY | IN_ATTRIB))
            self._by_watch |= dict.fromkeys(feed.watches, feed)
        except OSError:  # the user has reached the kernel's limit of watches
            self._polled.add(feed)
        self._move(feed)

    def serve(self, fd: int, events: int) -> None:
        """Handle what epoll reports of a descriptor."""
        if fd == self._inotify:
            self._look()
        elif feed := self._by_pipe.get(fd):
            if events & select.EPOLLERR:
                self._end(feed, BROKEN)
            else:
                self._move(feed)

    def poll(self) -> None:
        """Look at the spools that the kernel does not watch."""
        for feed in [*self._polled]:
            self._move(feed)

    def _look(self) -> None:
        changed: set[Feed] = set()
        for number, mask, _ in read_events(self._inotify):
            if number < 0:  # the queue overflowed: any spool may have changed
                changed.update(self._by_job.values())
            elif mask & IN_IGNORED:  # the file is gone; its number may be used again
                self._by_watch.pop(number, None)
            elif feed := self._by_watch.get(number):
                changed.add(feed)
        for feed in changed:
            if not feed.waiting and feed.job in self._by_job:
                self._move(feed)

    def _move(self, feed: Feed) -> None:
        try:
            full = feed.move()
        except EOFError:
            self._end(feed, CLOSED)
        except BrokenPipeError:
            self._end(feed, BROKEN)
        except OSError as error:
            print(f"job {feed.job}: its input cannot be moved: {error}", file=sys.stderr, flush=True)
            self._end(feed, FAILED)
        else:
            if full != feed.waiting:
                feed.waiting = full
                self._epoll.modify(feed.pipe, select.EPOLLOUT if full else 0)

    def _end(self, feed: Feed, how: str) -> None:
        self.ended[feed.job] = how
        self.drop(feed.job)

    def drop(self, job: str) -> None:
        """Close what a job has here: its input has ended, or the job."""
        feed = self._by_job.pop(job, None)
        if feed is None:
            return
        del self._by_pipe[feed.pipe]
        self._polled.discard(feed)
        self._epoll.unregister(feed.pipe)  # before it is closed: the keeper has a copy
        for number in feed.watches:
            self._by_watch.pop(number, None)
            remove_watch(self._inotify, number)
        for fd in (feed.pipe, *feed.files):
            os.close(fd)
