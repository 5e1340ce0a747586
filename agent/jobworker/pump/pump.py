"""Move the bytes of all jobs from their FIFOs to their log files: the loop.

It holds no state that is not on disk or in a pipe. The formats: ``docs/reference/on-disk-formats.md``.
"""

import json
import os
import select
import socket
import time
from typing import Any

from jobworker.pump.log import CHUNK, RETRY, Log, Stalled, can_punch, can_splice

MESSAGE = 262144
PAUSE = 0.0005  # seconds after a short read, so that tiny writes gather into one arrival


class Pump:
    """The loop: one connection to a keeper, and the pipes."""

    def __init__(self, listener: socket.socket, folder: str) -> None:
        self.folder = folder
        self.listener = listener
        self.keeper: socket.socket | None = None
        self.greeted = False
        self.logs: dict[str, Log] = {}
        self.pipes: dict[int, tuple[Log, int]] = {}
        self.stalled: set[int] = set()  # pipes whose log cannot be written
        self.behind: set[Log] = set()
        self.retry_at = 0.0
        self.untold: dict[str, dict[str, object]] = {}  # what a keeper is to know of a log: the last word counts
        self.splices = can_splice(folder)
        self.punches = can_punch(folder)
        self.epoll = select.epoll()
        self.epoll.register(listener, select.EPOLLIN)

    def run(self) -> None:
        while True:
            waiting = self.stalled or self.behind
            ready = self.epoll.poll(max(0.0, self.retry_at - time.monotonic()) if waiting else -1)
            short = False
            for fd, events in ready:
                if fd in self.pipes:
                    short |= self.serve(fd, events)
            for fd, events in ready:  # last: they open descriptors, whose numbers may be those just closed
                if self.keeper and fd == self.keeper.fileno():
                    self.hear(events)
                elif fd == self.listener.fileno():
                    self.accept()
            if waiting and time.monotonic() >= self.retry_at:
                self.retry()
            if self.keeper is None and self.greeted and not self.logs:
                return
            if short:
                time.sleep(PAUSE)

    def accept(self) -> None:
        """Take the next keeper. The one before is dead, even where a child that hangs still has its socket."""
        keeper, _ = self.listener.accept()
        while self.keeper is not None and self.hear(0):
            pass
        if self.keeper is not None:
            self.let_go()
        self.keeper = keeper
        self.greeted = True
        self.keeper.setblocking(False)
        self.epoll.register(self.keeper, select.EPOLLIN)
        features = {"splice": self.splices, "punch": self.punches}
        hello = {"hello": 1, "pid": os.getpid(), **features, "jobs": [*self.logs, *self.untold]}
        try:
            self.keeper.send(json.dumps(hello).encode())
        except OSError:
            return  # it is gone already: hear() will notice
        self.tell()

    def hear(self, events: int) -> bool:
        """Obey what the keeper says; return whether there may be more."""
        assert self.keeper is not None
        if events & select.EPOLLOUT:
            self.epoll.modify(self.keeper, select.EPOLLIN)
            self.tell()
        for _ in range(64):  # a flood of starts must not starve the pipes
            try:
                data, fds, _, _ = socket.recv_fds(self.keeper, MESSAGE, 2)
            except BlockingIOError:
                return False
            except OSError:
                data, fds = b"", []
            if not data:
                self.let_go()
                return False
            self.obey(json.loads(data), fds)
        return True

    def let_go(self) -> None:
        assert self.keeper is not None
        self.epoll.unregister(self.keeper)
        self.keeper.close()
        self.keeper = None

    def obey(self, message: dict[str, Any], fds: list[int]) -> None:
        job = message["id"]
        if message["op"] == "watch" and job not in self.logs and fds:
            log = self.logs[job] = Log(
                job,
                f"{self.folder}/{job}",
                fds,
                drops=bool(message.get("drop")),
                bound=message.get("max", 0),
                newest=self.punches and message.get("keep") != "oldest",
            )
            for stream, fd in enumerate(fds):
                self.pipes[fd] = (log, stream)
                self.epoll.register(fd, select.EPOLLIN)
            if os.path.exists(log.folder):
                self.take_up(log)
        elif message["op"] == "watch":
            for fd in fds:
                os.close(fd)
        elif message["op"] == "forget" and job in self.logs:
            log = self.logs.pop(job)
            for pipe in log.pipes:
                if pipe is not None:
                    self.drop(pipe)
            self.behind.discard(log)
            log.close()

    def take_up(self, log: Log) -> None:
        """Index at once what a predecessor has moved: the job may be silent from now on, and readers wait for it."""
        try:
            log.open()
        except OSError:
            self.retry_later()
            self.behind.add(log)

    def serve(self, fd: int, events: int) -> bool:
        """Move one chunk; return whether it was a short one."""
        log, stream = self.pipes[fd]
        whole = not log.truncated
        try:
            length = log.pump(stream, self.splices) if events & select.EPOLLIN else 0
            if not length:  # hung up and empty: every write end is closed
                self.finish(fd, log, stream)
        except BlockingIOError:
            length = 0
        except Stalled:
            self.retry_later()
            self.epoll.unregister(fd)
            self.stalled.add(fd)
            length = 0
        if log.behind and log.job in self.logs:
            self.retry_later()
            self.behind.add(log)
        if log.truncated and whole and log.job in self.logs:
            self.untold[log.job] = {"id": log.job, "truncated": True}
            self.tell()
        return 0 < length < min(log.chunk, CHUNK) // 4

    def retry_later(self) -> None:
        if not self.stalled and not self.behind:
            self.retry_at = time.monotonic() + RETRY

    def retry(self) -> None:
        """Try what could not be written again: of a log that has gone silent nothing else would tell."""
        for fd in self.stalled:
            self.epoll.register(fd, select.EPOLLIN)
        self.stalled.clear()
        for log in list(self.behind):
            try:
                log.open()
                log.settle()
                self.behind.discard(log)
            except OSError:
                self.retry_at = time.monotonic() + RETRY

    def finish(self, fd: int, log: Log, stream: int) -> None:
        if log.pipes[1 - stream] is None:
            try:
                size = log.close()
            except OSError as error:
                raise Stalled from error
            del self.logs[log.job]
            self.behind.discard(log)
            end = {"id": log.job, "size": size, "out": log.positions[0], "truncated": log.truncated}
            self.untold[log.job] = end | {"first": log.first[1]}
            self.tell()
        log.pipes[stream] = None
        self.drop(fd)

    def drop(self, fd: int) -> None:
        if fd in self.stalled:
            self.stalled.discard(fd)
        else:
            self.epoll.unregister(fd)
        del self.pipes[fd]
        os.close(fd)

    def tell(self) -> None:
        while self.keeper and self.untold:
            job = next(iter(self.untold))
            try:
                self.keeper.send(json.dumps(self.untold[job]).encode())
            except BlockingIOError:
                self.epoll.modify(self.keeper, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # the keeper is gone: hear() will notice, the next one is told
            del self.untold[job]
