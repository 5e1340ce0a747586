"""The agent's end of the connection to the keeper: connect or start one, send requests, read answers."""

import asyncio
import errno
import json
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from jobworker.errors import DiskFull, InternalError, JobworkerError, RateLimited, write_hint
from jobworker.host.keeper_connect import connect
from jobworker.host.keeper_process import find_keeper, keeper_command, program_checksum
from jobworker.host.keeper_silence import Silence
from jobworker.host.process_tree import readable
from jobworker.paths import Home

log = logging.getLogger(__name__)

# Larger messages are passed as a file: a seqpacket message is limited by the socket's buffer (212 kB).
LARGE_BYTES = 100_000
MAX_ANSWER_BYTES = 262_144
HELLO_SECONDS = 30.0  # for the first answer of a keeper: it tries out first what works on this host
DISK_ERRNOS = {errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG}
ReadJournal = Callable[[int, Callable[[], None]], None]
_requests, _answers = msgspec.json.Encoder(), msgspec.json.Decoder()


class KeeperGone(JobworkerError):
    """The keeper died before it answered; the journal has what it did."""

    def __init__(self) -> None:
        super().__init__("the keeper died before it answered", hint="see keeper.log in the state folder")


class KeeperLink:
    """One connection at a time. `journal_grew` is called before the answers in the same message are set."""

    def __init__(
        self,
        home: Home,
        run: Path,
        journal_grew: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._home = home
        self._run = run

        def at_once(size: int, then: Callable[[], None]) -> None:
            journal_grew()
            then()

        self._read_journal: ReadJournal = at_once
        self._lost = lost
        self._sock: socket.socket | None = None
        self._buffer = memoryview(bytearray(MAX_ANSWER_BYTES))  # receives each message: a fresh one costs page faults
        self._blocked = False  # the socket takes nothing now: `_send` goes on when it does
        self._outbox: deque[tuple[bytes, int | None]] = deque()  # to send: a message, or a file with a large one
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}  # answers to come, by number of the request
        self._number = 0  # of the last request
        self._pidfd = -1  # of the keeper, -1: none
        self._silence = Silence()
        self._alarm: asyncio.TimerHandle | None = None  # checks whether the keeper is silent
        self.stuck = False  # the last keeper was killed because it was silent
        self.former = 0  # the pid of the last keeper
        self.pumps_lost = 0  # pumps that were replaced
        self._pump = 0  # the pid of the last pump
        self.hello: dict[str, Any] = {}  # the keeper's answer to `hello`: its pid, version and capabilities
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def holding(self) -> bool:
        """Whether the keeper has adopted all running jobs."""
        return self._ready.done() and self._ready.exception() is None

    def set_ready(self, state: bool | JobworkerError) -> None:
        """Set that the keeper has adopted all running jobs, that it has not yet, or why there is none."""
        if self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        if isinstance(state, JobworkerError):
            self._ready.set_exception(state)
            self._ready.exception()  # marks it as retrieved: perhaps nothing waits for it
        elif state:
            self._ready.set_result(None)

    async def ready(self) -> None:
        """Wait until a keeper has adopted all running jobs; raise the reason if none can."""
        await asyncio.shield(self._ready)

    async def insist(self, op: str, **params: Any) -> dict[str, Any]:
        """Send a request, and send it again to the next keeper if this one dies before it answers."""
        while True:
            try:
                return await self.ask(op, **params)
            except KeeperGone:
                await self.ready()

    def on_news(self, read_journal: ReadJournal, lost: Callable[[], None]) -> None:
        """Set what is called when the journal has grown, and when the keeper is gone.

        `read_journal` gets the size of the journal, and a function to call when it has been read up to there.
        """
        self._read_journal = read_journal
        self._lost = lost

    async def open(self) -> None:
        """Connect to the running keeper, or start one; read its `hello`, and upgrade it if its program changed."""
        pid, self._run, self._sock = await connect(self._home, self._run)
        self._sock.setblocking(False)
        self.former = self.hello.get("pid", 0)
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)
        await self._greet(pid)
        if self.hello.get("code") != program_checksum():
            await self._upgrade()
        if why := self.hello.get("no_cgroup"):
            log.warning("jobs get no cgroup of their own; a stop finds their processes by a sweep of /proc: %s", why)
        self._pidfd = os.pidfd_open(self.hello["pid"])
        # A child that hangs before its execve has a copy of the socket: only the pidfd shows that the keeper ended.
        asyncio.get_running_loop().add_reader(self._pidfd, self._keeper_ended)
        self.stuck = False

    async def _greet(self, pid: int) -> None:
        """Read the keeper's `hello`; kill one that does not answer, and raise KeeperGone."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                self.hello = await self.ask("hello", agent=os.getpid())
        except TimeoutError:
            log.error("the keeper (pid %d) has not answered for %g s and is replaced", pid, HELLO_SECONDS)
            found = find_keeper(self._home)
            if pid and found is not None and found[0] == pid:
                self._pidfd = os.pidfd_open(pid)
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._end()
            raise KeeperGone from None

    async def _upgrade(self) -> None:
        """Have a keeper of another version execute ours in place: the pid and the children stay."""
        try:
            await self.ask("upgrade", command=keeper_command(self._home, self._run))
            self.hello = await self.ask("hello", agent=os.getpid())
            log.info("the keeper (pid %d) was upgraded", self.hello["pid"])
        except InternalError as error:
            log.warning("the keeper (pid %d) stays as it is: %s", self.hello["pid"], error.message)

    async def ask(self, op: str, **params: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises DiskFull if the journal cannot be written, InternalError for another refusal and KeeperGone if the
        keeper died first.
        """
        if self._sock is None:
            raise KeeperGone
        self._number += 1
        message = _encode({"op": op, "re": self._number, **params})
        future = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._silence.begin()
        self._waiting[self._number] = future
        if self._alarm is None:
            self._set_alarm()
        self._outbox.append(_as_file(message) if len(message) > LARGE_BYTES else (message, None))
        self._send()
        answer: dict[str, Any] = await future
        if "error" not in answer:
            return answer
        if answer["errno"] in DISK_ERRNOS:
            hint = write_hint(self._home.journal, answer["errno"])
            raise DiskFull(f"the journal cannot be written: {answer['error']}", hint=hint)
        if answer["errno"] == errno.EMFILE:
            raise RateLimited(f"too many jobs run on this host: {answer['error']}", retry_after=1)
        raise InternalError(f"the keeper refused {op}: {answer['error']}")

    def _set_alarm(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self._silence.next_check(), self._check)

    def _check(self) -> None:
        """Kill a keeper that is silent: it is stuck, and so is every request to it."""
        self._alarm = None
        if not self._waiting:
            return
        if self._pidfd >= 0 and (seconds := self._silence.check(self.hello["pid"])):
            log.error("the keeper has not answered for %.1f s: it is stuck and is replaced", seconds)
            self.stuck = True
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._set_alarm()

    async def left(self, limit: float) -> None:
        """Return when the keeper that was asked to quit has ended, or after `limit` seconds."""
        if self._pidfd < 0:
            return
        pidfd = os.dup(self._pidfd)  # the original is no longer watched when the connection has ended
        try:
            async with asyncio.timeout(limit):
                await readable(pidfd)
        except TimeoutError:
            log.warning("the keeper has not ended after %g s: a process holds the output of an ended job open", limit)
        finally:
            os.close(pidfd)

    async def dead(self) -> None:
        """Return when the process of the keeper that was lost is gone."""
        if self._pidfd >= 0:
            await readable(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
            (self._run / "keeper.sock").unlink(missing_ok=True)  # a child that hangs may hold it open

    def _keeper_ended(self) -> None:
        """Take what the keeper had sent before its end, then close the connection."""
        while self._take():
            pass
        self._end()

    def _end(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._sock is not None:
            self._lost()  # first: the journal is then read to its end before the requests fail
            self.close()

    def close(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._sock is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.remove_writer(self._sock.fileno())
        self._blocked = False
        self._sock.close()
        self._sock = None
        for _, fd in self._outbox:
            if fd is not None:
                os.close(fd)
        self._outbox.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(KeeperGone())
        self._waiting.clear()

    def _send(self) -> None:
        assert self._sock is not None
        loop = asyncio.get_running_loop()
        while self._outbox:
            message, fd = self._outbox[0]
            try:
                if fd is None:
                    self._sock.send(message)
                else:
                    socket.send_fds(self._sock, [message], [fd])
            except BlockingIOError:
                self._blocked = True
                loop.add_writer(self._sock.fileno(), self._send)
                return
            except OSError:
                return  # _readable() will notice that the connection is gone
            self._outbox.popleft()
            if fd is not None:
                os.close(fd)
        if self._blocked:
            self._blocked = False
            loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        self._take()  # one message: if there are more, the loop calls again

    def _take(self) -> bool:
        """Take one message, or notice the end of the connection; return whether there may be more."""
        if self._sock is None:
            return False
        try:
            size = self._sock.recv_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError:
            size = 0
        if not size:
            self._end()
            return False
        self._silence.begin()
        message = _decode(self._buffer[:size])
        self._note_pump(message["pump"])
        pairs = [(self._waiting.pop(answer["re"], None), answer) for answer in message["answers"]]
        self._read_journal(message["journal"], partial(_resolve, pairs))
        return True

    def _note_pump(self, pid: int) -> None:
        """Keep the pid of the pump, 0 while there is none, and count a pump in place of another."""
        self.hello["pump"] = pid
        if pid and pid != self._pump:
            self.pumps_lost += bool(self._pump)
            self._pump = pid


def _encode(message: dict[str, Any]) -> bytes:
    try:
        return _requests.encode(message)
    except UnicodeEncodeError:  # a path that is no UTF-8
        return json.dumps(message).encode()


def _decode(data: memoryview) -> dict[str, Any]:
    try:
        message: dict[str, Any] = _answers.decode(data)
    except msgspec.DecodeError:  # a path that is no UTF-8: its bytes are escaped as lone surrogates
        message = json.loads(bytes(data))
    return message


def _resolve(pairs: list[tuple[asyncio.Future[dict[str, Any]] | None, dict[str, Any]]]) -> None:
    for future, answer in pairs:
        if future is not None and not future.done():
            future.set_result(answer)


def _as_file(message: bytes) -> tuple[bytes, int]:
    """Put a large message into a file in memory, which is passed in its place."""
    fd = os.memfd_create("jobworker", os.MFD_CLOEXEC)
    with open(os.dup(fd), "wb") as file:
        file.write(message)
    os.lseek(fd, 0, os.SEEK_SET)
    return b"{}", fd
