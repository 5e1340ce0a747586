"""The keeper's end of the connection to the pump: start one if there is none, pass it pipes, journal its reports."""

import os
import select
import signal
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from jobworker.formats.code import ROOT
from jobworker.keeper.job import Job
from jobworker.keeper.run_folder import ensure
from jobworker.keeper.state import State
from jobworker.keeper.wire import MESSAGE, decode, encode
from jobworker.linux.syscalls import ALL_SIGNALS
from jobworker.linux.terminal import set_size

PUMP = f"{ROOT}/pump/__main__.py"
JOBS_AT_ONCE = 64  # of which the pipes go to the pump in one message, which can have 253 descriptors
# Bytes: the pump passes on the master of a terminal, or the pipe of an input and the two files of its spool.
ROOM_FOR_DESCRIPTORS = socket.CMSG_LEN(3 * array("i").itemsize)
RETRY_SECONDS = 0.2  # between two attempts to start a pump


class PumpSocket:
    """One connection at a time. Our own read ends stay open, so either process may die."""

    def __init__(self, state: State, epoll: select.epoll) -> None:
        self._state = state
        self._epoll = epoll
        self.socket: socket.socket | None = None
        self.splices = True  # the pump moves bytes with splice(2): a kill loses none
        self.terminals = True  # the pump moves the output of terminals
        self.masks = True  # the pump masks secrets in the output
        self.punches = True  # the file system lets the pump drop the oldest bytes of a log
        self.unwatched: deque[str] = deque()  # jobs whose pipes the pump does not have yet
        self._fresh: set[str] = set()  # those of them that no pump has had: there is no log of them yet
        self._full = False  # the pump's socket takes no more for now
        self._many = False  # the pump takes the pipes of many jobs at once
        # What the pump is to know of inputs: `input`, it gets them, or `end_input`, and the job.
        self.outbox: deque[tuple[str, str]] = deque()
        # Called with what the pump sends about inputs, and the descriptors beside it.
        self.input_news: Callable[[dict[str, Any], list[int]], None] = lambda message, fds: None
        self._forgotten: deque[str] = deque()  # jobs whose launch failed: the pump must drop their pipes
        self._held: set[str] = set()  # jobs that the pump had before it connected to us
        self._buffer = memoryview(bytearray(MESSAGE))  # messages are received into it, one after the other
        self._tried = 0.0  # when the last pump was started

    def fileno(self) -> int:
        return self.socket.fileno() if self.socket else -1

    def ensure(self) -> None:
        """Start a pump if there is none, but not one that cannot live again and again."""
        if self.socket is not None or time.monotonic() - self._tried < RETRY_SECONDS:
            return
        self._tried = time.monotonic()
        try:
            self._start()
        except OSError as error:
            print(f"no pump could be started: {error}", file=sys.stderr, flush=True)

    def _start(self) -> None:
        """Start a pump on a socket by name, which the keeper after this one can connect to as well."""
        ensure(self._state)
        path = f"{self._state.run_folder}/pump.sock"
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(8)
        self._state.pump_pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", PUMP, f"{self._state.folder}/logs"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
            setsigmask=[],
            setsigdef=ALL_SIGNALS,
        )
        listener.close()
        self.join()
        self._forgotten.clear()
        self.unwatched = deque(job.id for job in self._state.jobs.values() if not job.closed)
        self.outbox = deque(("input", job.id) for job in self._state.jobs.values() if job.spool)

    def join(self) -> bool:
        """Connect to the pump that listens, ours or that of the keeper before; return whether there is one."""
        pump = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pump.connect(f"{self._state.run_folder}/pump.sock")
        except OSError:
            pump.close()
            return False
        pump.setblocking(False)
        self.socket = pump
        self._epoll.register(pump, select.EPOLLIN)
        return True

    def watch(self, job: str) -> None:
        """Have the next `send_pipes` give the pump the pipes of a new job."""
        self.unwatched.append(job)
        self._fresh.add(job)

    def forget(self, job: str) -> None:
        """Take back the pipes of a job that did not start."""
        self._fresh.discard(job)
        if job in self.unwatched:
            self.unwatched.remove(job)
        else:
            self._forgotten.append(job)
            self.send_pipes()

    def send_pipes(self) -> None:
        """Give the pump the read ends it does not have."""
        while self.socket and (self._forgotten or self.unwatched or self.outbox):
            message: dict[str, Any]
            jobs: list[Job] = []
            fds: list[int] = []
            if self._forgotten:
                message = {"op": "forget", "id": self._forgotten[0]}
            elif self.outbox:
                op, name = self.outbox[0]
                message = {"op": op, "id": name}
                job = self._state.jobs.get(name)
                if op == "input" and job is not None and job.spool:
                    fds = [job.input, *job.spool]
            else:
                jobs = [self._state.jobs[job] for job in islice(self.unwatched, JOBS_AT_ONCE if self._many else 1)]
                watches = [self._watch(job) for job in jobs]
                message = {"op": "watch", "jobs": watches} if self._many else {"op": "watch", **watches[0]}
                fds = [fd for job in jobs for fd in job.descriptors()]
            try:
                socket.send_fds(self.socket, [encode(message).encode()], fds)
            except BlockingIOError:
                self._full = True
                self._epoll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:
                return  # read() will see that the pump is gone
            for job in jobs:
                self.unwatched.popleft()
                self._fresh.discard(job.id)
            if "jobs" not in message and not jobs:
                (self._forgotten or self.outbox).popleft()

    def _watch(self, job: Job) -> dict[str, Any]:
        """Return what the pump has to know of a job."""
        watch: dict[str, Any] = {"id": job.id, "drop": job.drop, "max": job.max, "keep": job.keep}
        if job.wait:
            watch["wait"] = True
        if job.secrets:
            watch["secrets"] = job.secrets
        if job.tty:
            watch["tty"] = "given" if job.master >= 0 else "wanted"
        if self._many:
            watch |= {"pipes": len(job.descriptors()), "new": job.id in self._fresh}
        return watch

    def read(self) -> None:
        """Take what the pump has sent, or notice that it is gone."""
        assert self.socket is not None
        if self._full:
            self._full = False
            self._epoll.modify(self.socket, select.EPOLLIN)
        while True:
            try:
                length, ancillary, _, _ = self.socket.recvmsg_into(
                    [self._buffer], ROOM_FOR_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                length, ancillary = 0, []
            if not length:
                self._epoll.unregister(self.socket)
                self.socket.close()
                self.socket, self._many, self._full = None, False, False
                return
            message = decode(bytes(self._buffer[:length]))
            if "hello" in message:
                self.splices = message["splice"]
                self.punches = message.get("punch", False)
                self._state.pump_pid = message["pid"]
                self._held = set(message["jobs"])
                self._many = message.get("many", False)
                self.terminals = message.get("tty", False)
                self.masks = message.get("masks", False)
                if "inputs" not in message:  # of a version that cannot move input: the next one goes on
                    os.kill(message["pid"], signal.SIGKILL)
                self.input_news(message, [])
                continue
            fds = array("i", ancillary[0][2]).tolist() if ancillary else []
            if "terminal" in message:
                self._take_terminal(message["terminal"], *fds)
                continue
            if "input" in message or "input_end" in message:
                self.input_news(message, fds)
                continue
            for report in message.get("reports", [message]):
                if job := self._state.jobs.get(report["id"]):
                    self._record(job, report)

    def _take_terminal(self, name: str, master: int, reader: int = -1) -> None:
        """Hold the terminal of an adopted job, which the pump had from the keeper before."""
        job = self._state.jobs.get(name)
        if job is None or job.closed or job.master >= 0:
            os.close(master)
            if reader >= 0:
                os.close(reader)
            return
        job.master, job.unheld = master, False
        if job.input_reader < 0:
            job.input_reader = reader
        elif reader >= 0:
            os.close(reader)
        if job.size:
            set_size(master, *job.size)

    def _record(self, job: Job, message: dict[str, Any]) -> None:
        """Journal what the pump reports of a log: that output was dropped, or that it is closed."""
        journal = self._state.journal
        if message.get("truncated") and not job.truncated:
            job.truncated = True
            journal.note({"event": "truncated", "id": job.id})
        if "size" not in message:
            return
        # If the last end of a pipe was closed while neither keeper nor pump held it, what was in it is gone.
        cut = job.unheld and job.id not in self._held
        self._held.discard(job.id)
        record = {"event": "closed", "id": job.id, "size": message["size"], "first": message.get("first", 0)}
        journal.note(record | {"truncated": cut or job.truncated})
        job.closed = True
        job.close_pipes()
        if job.id in self.unwatched:  # adopted, and the pump had it all along
            self.unwatched.remove(job.id)
        self._state.forget_if_done(job)
