"""The loop of the pump: move the bytes of all jobs from their FIFOs to their log files.

All its state is also on disk, in a pipe or at the keeper, so another pump can continue at any moment.
``docs/reference/on-disk-formats.md`` describes the files, ``docs/reference/keeper-protocol.md`` the messages.
"""

import errno
import json
import os
import select
import socket
import sys
import time
from itertools import islice
from typing import Any

from jobworker.pump.feed import Feeds
from jobworker.pump.file_system import CHUNK, RETRY_SECONDS, can_punch, can_splice
from jobworker.pump.log import Log
from jobworker.pump.masked import MaskedPipes
from jobworker.pump.terminal import Terminals
from jobworker.pump.waiting import HELD_SECONDS, Held, Stalled

MESSAGE = 262144  # bytes: longer than any message of the keeper
DESCRIPTORS = 253  # at most with a message, by the kernel's limit
REPORTS_AT_ONCE = 64  # in a message
MESSAGES_AT_ONCE = 64  # of the keeper, before the pipes are served again
PAUSE_SECONDS = 0.0005  # after a short read, so that tiny writes gather into one record


class Pump:
    """One connection to a keeper, and the pipes of all jobs, in one epoll loop."""

    def __init__(self, listener: socket.socket, folder: str) -> None:
        self.folder = folder
        self.listener = listener
        self.keeper: socket.socket | None = None  # the connection; None between two keepers
        self.greeted = False  # a keeper has connected once; before that the pump does not end
        self.logs: dict[str, Log] = {}  # by job
        self.pipes: dict[int, tuple[Log, int]] = {}  # by descriptor: the log and the stream
        self.stalled: set[int] = set()  # pipes whose log cannot be written now; not in epoll
        self.unwritten: set[Log] = set()  # logs with records that could not be written
        self.retry_at = 0.0  # when stalled pipes and unwritten logs are tried again
        self.many = False  # the keeper takes many reports in a message
        self.fresh_reports = False  # there are reports since the last turn of the loop
        self.reports: dict[str, dict[str, object]] = {}  # by job: what no keeper has received yet, the latest only
        self.splices = can_splice(folder)
        self.punches = can_punch(folder)
        self.epoll = select.epoll()
        self.feeds = Feeds(self.epoll)
        self.terminals = Terminals(self.epoll)
        self.epoll.register(listener, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the keeper is gone and the last log is closed."""
        while True:
            waiting = self.stalled or self.unwritten
            wait = max(0.0, self.retry_at - time.monotonic()) if waiting else -1
            ready = self.epoll.poll(self.feeds.timeout() if wait < 0 else wait)
            short, others = False, []
            for fd, events in ready:
                if fd in self.pipes:
                    short |= self.serve(fd, events)
                elif self.terminals.has(fd):
                    self.terminals.serve(fd, events)
                elif self.feeds.has(fd):
                    self.feeds.serve(fd, events)
                else:
                    others.append((fd, events))
            for fd, events in others:  # last: these open descriptors, whose numbers may be those just closed
                if self.keeper and fd == self.keeper.fileno():
                    self.read_keeper(events)
                elif fd == self.listener.fileno():
                    self.accept()
            if waiting and time.monotonic() >= self.retry_at:
                self.retry()
            self.feeds.poll()
            if self.fresh_reports or self.feeds.ended:
                self.send_reports()
            if self.keeper is None and self.greeted and not self.logs and not self.feeds:
                return
            if short:
                time.sleep(PAUSE_SECONDS)

    def accept(self) -> None:
        """Accept the next keeper. The one before is dead, even if a child of it that hangs still has its socket."""
        keeper, _ = self.listener.accept()
        while self.keeper is not None and self.read_keeper(0):  # what the last keeper sent still counts
            pass
        if self.keeper is not None:
            self.disconnect()
        self.terminals.wanted.clear()
        self.keeper = keeper
        self.greeted = True
        self.many = False
        self.keeper.setblocking(False)
        self.epoll.register(self.keeper, select.EPOLLIN)
        features = {"splice": self.splices, "punch": self.punches, "many": True, "tty": True, "masks": True}
        hello = {"hello": 1, "pid": os.getpid(), **features, "jobs": [*self.logs, *self.reports]}
        hello["inputs"] = self.feeds.offer_all()
        try:
            self.keeper.send(json.dumps(hello).encode())
        except OSError:
            return  # it is gone already: read_keeper() will notice
        self.send_reports()

    def read_keeper(self, events: int) -> bool:
        """Read and handle messages of the keeper; return whether there may be more."""
        assert self.keeper is not None
        if events & select.EPOLLOUT:
            self.epoll.modify(self.keeper, select.EPOLLIN)
            self.send_reports()
        # One that has many jobs is most likely the only one: to find that out takes another call.
        for _ in range(1 if self.many else MESSAGES_AT_ONCE):  # a flood of starts must not delay the pipes
            try:
                data, fds, _, _ = socket.recv_fds(self.keeper, MESSAGE, DESCRIPTORS)
            except BlockingIOError:
                return False
            except OSError:
                data, fds = b"", []
            if not data:
                self.disconnect()
                return False
            self.handle(json.loads(data), fds)
        return True

    def disconnect(self) -> None:
        """Close the connection to the keeper; the pipes are served as before."""
        assert self.keeper is not None
        self.epoll.unregister(self.keeper)
        self.keeper.close()
        self.keeper = None

    def handle(self, message: dict[str, Any], fds: list[int]) -> None:
        """Take the pipes of jobs (`watch`), or give them up (`forget`: the launch failed)."""
        if "jobs" in message:
            self.many = True
            for watch in message["jobs"]:
                count = watch["pipes"]
                self.watch(watch, fds[:count])
                del fds[:count]
        elif message["op"] == "watch":
            self.watch(message, fds)
        elif message["op"] == "forget":
            self.forget(message["id"])
        elif message["op"] == "input":
            self.feeds.add(message["id"], fds)
        elif message["op"] == "end_input":
            self.feeds.drop(message["id"])

    def watch(self, message: dict[str, Any], fds: list[int]) -> None:
        """Take the pipes of one job, unless it is known."""
        job = message["id"]
        new = message.get("new", False)  # no pump had its pipes before
        if job in self.logs and message.get("tty") == "wanted":
            self.terminals.wanted.add(job)
            self.fresh_reports = True
        if job not in self.logs and fds:
            given = fds[1:] if message.get("tty") == "given" else []  # after the one pipe
            del fds[len(fds) - len(given) :]
            log = self.logs[job] = Log(
                job,
                f"{self.folder}/{job}",
                fds,
                drops=bool(message.get("drop")),
                bound=message.get("max", 0),
                newest=self.punches and message.get("keep") != "oldest",
                new=new,
                waits=message.get("wait", False),
            )
            if path := message.get("secrets"):
                self.mask(log, path)
            if given:
                self.terminals.add(job, fds[0], given)
            for stream, fd in enumerate(fds):
                self.pipes[fd] = (log, stream)
                self.epoll.register(fd, select.EPOLLIN)
            if not new and os.path.exists(log.folder):
                self.index_backlog(log)
        else:  # the pump has this job's pipes already
            for fd in fds:
                os.close(fd)

    def mask(self, log: Log, path: str) -> None:
        """Have the secrets in this file masked in a log; if it cannot be read, no output of the job is written."""
        try:
            log.masked = MaskedPipes(path)
        except (OSError, ValueError) as error:
            print(
                f"job {log.job}: its output is dropped: its secrets cannot be read: {error}",
                file=sys.stderr,
                flush=True,
            )
            log.limited = True

    def forget(self, job: str) -> None:
        """Close the pipes of a job whose launch failed."""
        if job in self.logs:
            self.terminals.drop(job)
            log = self.logs.pop(job)
            for pipe in log.pipes:
                if pipe is not None:
                    self.close_pipe(pipe)
            self.unwritten.discard(log)
            log.close()

    def index_backlog(self, log: Log) -> None:
        """Index at once what a pump before this one has moved: a silent job would leave readers waiting for it."""
        try:
            log.open()
        except OSError:
            self.retry_later()
            self.unwritten.add(log)

    def serve(self, fd: int, events: int) -> bool:
        """Move one chunk of a pipe; return whether it was short, so that a pause gathers more."""
        log, stream = self.pipes[fd]
        whole = not log.truncated
        try:
            last = bool(events & select.EPOLLHUP)
            length = log.pump(stream, self.splices, last=last) if events & select.EPOLLIN else 0
            if not length:  # the pipe is empty and every write end is closed
                self.finish(fd, log, stream)
        except BlockingIOError:
            length = 0
        except Stalled as stalled:
            length = 0
            if stalled.args == (errno.EFBIG,) and events & select.EPOLLHUP:
                log.limited = True  # no room will come, and no process waits for it: the rest counts as refused
            else:
                self.retry_later()
                self.epoll.unregister(fd)
                self.stalled.add(fd)
                if isinstance(stalled, Held):
                    self.retry_at = min(self.retry_at, time.monotonic() + log.patience)
                    log.patience = min(2 * log.patience, RETRY_SECONDS)
        if length:
            log.patience = HELD_SECONDS
            self.terminals.unblock(fd)
        if log.has_unwritten_records and log.job in self.logs:
            self.retry_later()
            self.unwritten.add(log)
        if log.truncated and whole and log.job in self.logs:
            self.reports[log.job] = {"id": log.job, "truncated": True}
            self.fresh_reports = True
        return 0 < length < min(log.chunk, CHUNK) // 4

    def retry_later(self) -> None:
        """Schedule a retry, unless one is scheduled."""
        if not self.stalled and not self.unwritten:
            self.retry_at = time.monotonic() + RETRY_SECONDS

    def retry(self) -> None:
        """Try again to write: a job that writes no more causes no event that would do it."""
        for fd in self.stalled:
            self.epoll.register(fd, select.EPOLLIN)
        self.stalled.clear()
        for log in list(self.unwritten):
            try:
                log.open()
                log.write_records()
                self.unwritten.discard(log)
            except OSError:
                self.retry_at = time.monotonic() + RETRY_SECONDS

    def finish(self, fd: int, log: Log, stream: int) -> None:
        """Close a pipe at its end, and with the last one of a job also its log; raise Stalled."""
        if log.pipes[1 - stream] is None:
            try:
                size = log.close()
            except OSError as error:
                raise Stalled(error.errno or 0) from error
            del self.logs[log.job]
            self.unwritten.discard(log)
            end = {"id": log.job, "size": size, "out": log.positions[0], "truncated": log.truncated}
            self.reports[log.job] = end | {"first": log.first[1]}
            self.fresh_reports = True
        log.pipes[stream] = None
        self.close_pipe(fd)

    def close_pipe(self, fd: int) -> None:
        """Close a pipe and forget it."""
        if fd in self.stalled:
            self.stalled.discard(fd)
        else:
            self.epoll.unregister(fd)
        del self.pipes[fd]
        os.close(fd)

    def send_reports(self) -> None:
        """Send the keeper what it has not received; go on when its socket has room."""
        self.fresh_reports = False
        self.send_terminals()
        self.send_input()
        while self.keeper and self.reports:
            jobs = list(islice(self.reports, REPORTS_AT_ONCE if self.many else 1))
            message = {"reports": [self.reports[job] for job in jobs]} if self.many else self.reports[jobs[0]]
            try:
                self.keeper.send(json.dumps(message).encode())
            except BlockingIOError:
                self.epoll.modify(self.keeper, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # the keeper is gone: read_keeper() will notice, and the next one gets the report
            for job in jobs:
                del self.reports[job]

    def send_terminals(self) -> None:
        """Send the keeper the terminals that it wants."""
        if self.keeper is None:
            return
        try:
            for job, fds in self.terminals.offers():
                socket.send_fds(self.keeper, [json.dumps({"terminal": job}).encode()], fds)
        except BlockingIOError:
            self.epoll.modify(self.keeper, select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            pass  # read_keeper() will notice that it is gone

    def send_input(self) -> None:
        """Send the keeper how inputs have ended, and the open ones that it does not have."""
        for message, fds in self.feeds.news():
            if self.keeper is None:
                return
            try:
                socket.send_fds(self.keeper, [json.dumps(message).encode()], fds)
            except BlockingIOError:
                self.epoll.modify(self.keeper, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # read_keeper() will notice that it is gone
