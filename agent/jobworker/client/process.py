"""A job as a process, in the manner of `asyncio.subprocess`; its outputs are read from its log.

`blocking/process.py` is made of this file by `docs/generate.py`.
"""

import contextlib
from collections.abc import AsyncIterator

from jobworker.client import wire
from jobworker.client.completed import returncode_of
from jobworker.client.connection import Connection
from jobworker.client.input import JobInput
from jobworker.client.logs import LogChunk
from jobworker.client.subscription import Subscription
from jobworker.client.verbs import Verbs
from jobworker.errors import AnswerTimeout, ConnectionFailed, InvalidState, JobworkerError, StdinClosed, WaitTimeout
from jobworker.model import Job, LogGap, StopSpec


class Output:
    """One output of a job, from its first byte on, to be read by one reader.

    Nothing is subscribed to before the first read, and what is not read waits in the log, not in a pipe: the job and
    its other output do not wait for it.
    """

    def __init__(self, connection: Connection, job: Job, stream: str) -> None:
        self._log = Subscription(connection, job, {"streams": [stream], "follow": True})
        self._log.inbox.mark_lost()  # a loop over it begins with log.subscribe
        self._chunks: AsyncIterator[LogChunk] = self._log.__aiter__()
        self._buffer = bytearray()

    @property
    def gaps(self) -> list[LogGap]:
        """The ranges of the log passed so far that it does not hold."""
        return self._log.gaps

    def at_eof(self) -> bool:
        """Whether all was read."""
        return self._log.end is not None and not self._buffer

    async def read(self, n: int = -1) -> bytes:
        """Return up to `n` bytes, as soon as there are any; without `n`, all until the end. Empty at the end."""
        while (n < 0 or not self._buffer) and n != 0 and await self._fill():
            pass
        return self._take(len(self._buffer) if n < 0 else n)

    async def readline(self) -> bytes:
        """Return the next line with its newline, which the last may lack; empty at the end."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched) + 1) == 0:
            searched = len(self._buffer)
            if not await self._fill():
                return self._take(searched)
        return self._take(end)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line

    async def close(self) -> None:
        """Read no further."""
        await self._log.close()

    async def _fill(self) -> bool:
        """Wait for more bytes; return False at the end."""
        while self._log.end is None and not self._log.inbox.closed:
            async for chunk in self._chunks:
                self._buffer += chunk.data
                return True
            self._chunks = self._log.__aiter__()  # the last read was cancelled: this goes on at the next byte
        return False

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


class Process:
    """A job that was started; with ``async with`` its tree is ended on leaving, if it still runs.

    `stdin` is None unless the job has an input. A stop is for the whole tree.
    """

    def __init__(self, verbs: Verbs, job: Job) -> None:
        self._verbs = verbs
        self.job = job  # as it was when it was started; once it was waited for, as it ended
        self.stdin = JobInput(verbs.connection, job.id, 0) if job.spec.has_input() else None
        self.stdout = Output(verbs.connection, job, "stdout")
        self.stderr = Output(verbs.connection, job, "stderr")

    async def __aenter__(self) -> "Process":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.abandon()

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id

    @property
    def pid(self) -> int | None:
        """The pid of its main process, on the host of the agent."""
        return self.job.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of a signal; None until `wait` has returned, or if it is unknown."""
        try:
            return returncode_of(self.job) if self.job.state.final else None
        except JobworkerError:
            return None

    async def wait(self) -> int:
        """Return the `returncode` when the job has ended, also over lost connections.

        Raises JobLost if it is unknown.
        """
        limit = wire.WAIT_SECONDS
        if self._verbs.connection.timeout is not None:
            limit = min(limit, self._verbs.connection.timeout / 2)
        while not self.job.state.final:
            try:
                self.job = await self._verbs.wait(self.id, limit)
            except WaitTimeout:
                continue
            except AnswerTimeout:
                raise
            except ConnectionFailed:
                await self._verbs.connection.reconnect()
        return returncode_of(self.job)

    async def feed(self, data: bytes) -> None:
        """Write all of the input and end it; the job need not read it."""
        assert self.stdin is not None
        with contextlib.suppress(StdinClosed):
            await self.stdin.write(data)
            await self.stdin.close()

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002  # as of subprocess
        """Write the input, read both outputs to their ends, and wait; return what was read."""
        if self.stdin is not None:
            await self.feed(input or b"")
        stdout, stderr = await self.stdout.read(), await self.stderr.read()
        await self.wait()
        return stdout, stderr

    async def send_signal(self, signal: int | str) -> None:
        """Send a signal to the main process; raise InvalidState if the job has ended."""
        await self._verbs.signal(self.id, str(int(signal)) if isinstance(signal, int) else signal, target="main")

    async def terminate(self) -> None:
        """Stop the job as its spec has it, by default SIGTERM and later SIGKILL; return when its tree is gone."""
        await self._stop(None)

    async def kill(self) -> None:
        """Kill all processes of the job; return when they are gone."""
        await self._stop(StopSpec(strategy="kill"))

    async def _stop(self, stop: StopSpec | None) -> None:
        with contextlib.suppress(InvalidState):  # it has ended
            self.job = await self._verbs.stop(self.id, stop)

    async def abandon(self) -> None:
        """Read no further, and kill the tree if the job still runs. Nothing is raised if the agent is gone."""
        with contextlib.suppress(JobworkerError):
            await self.stdout.close()
            await self.stderr.close()
            if not self.job.state.final:
                await self.kill()
