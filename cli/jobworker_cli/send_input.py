"""`jw run -i`: send the stdin of `jw` to the job, and its end."""

import asyncio
import fcntl
import os
import select

from jobworker.client import JobInput
from jobworker.errors import StdinClosed

READ_BYTES = 1 << 20  # gathered at most before they are sent
F_SETPIPE_SZ = 1031
STDIN = 0


async def send_input(target: JobInput, *, ends: bool) -> None:
    """Send all of stdin, and end the input of the job with it; return early if the job takes no more.

    `ends`: its input ends as well if `jw` is killed or loses its connection.
    """
    try:
        if ends:
            await target.close_on_disconnect()
        async with target:
            while data := await read_stdin():
                await target.write(data)
    except StdinClosed:
        pass  # the job has ended, or reads no more of it, which is no error of `jw`


async def read_stdin() -> bytes:
    """Return what stdin has, at least a byte; b"" at its end. Does not keep `jw` from ending while it waits."""
    loop = asyncio.get_running_loop()
    while True:
        ready = loop.create_future()
        try:
            loop.add_reader(STDIN, _set, ready)
        except PermissionError:  # a regular file: always ready, and epoll takes none
            return await asyncio.to_thread(os.read, STDIN, READ_BYTES)
        except OSError:  # it is closed
            return b""
        try:
            await ready
        finally:
            loop.remove_reader(STDIN)
        try:
            return read_available()
        except BlockingIOError:
            continue  # it does not block, and another process took what there was


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def read_available() -> bytes:
    """Return what can be read at once, of which there is some; b"" at the end. Raise BlockingIOError."""
    data = os.read(STDIN, READ_BYTES)
    if not data or os.isatty(STDIN):  # of a terminal, the end comes once only
        return data
    parts, size = [data], len(data)
    while data and size < READ_BYTES and select.select([STDIN], [], [], 0)[0]:
        try:
            data = os.read(STDIN, READ_BYTES - size)
        except BlockingIOError:
            break
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def widen_stdin() -> None:
    """Give a pipe more room, so that its writer does not wait for each round trip."""
    try:
        fcntl.fcntl(STDIN, F_SETPIPE_SZ, 1 << 20)
    except OSError:
        pass  # no pipe, or the user has reached the kernel's limit of memory for pipes
