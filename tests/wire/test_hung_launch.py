"""A launch that hangs in execve costs the others five seconds at most, once, and itself its start."""

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobworker.client import Client
from jobworker.errors import ExecFailed
from jobworker.model import JobSpec, Reason


@pytest.fixture
def leased() -> Iterator[Path]:
    """A program whose execve hangs as long as the test holds a lease on it, in a folder that all users can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    program = folder / "program"
    shutil.copy("/bin/true", program)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # we are asked to give it back, and do not
    fd = os.open(program, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    yield program
    os.close(fd)
    signal.signal(signal.SIGIO, before)
    shutil.rmtree(folder)


@pytest.mark.parametrize("user", [None, pytest.param("nobody", marks=pytest.mark.slow)])
async def test_a_hung_launch_is_given_up(client: Client, leased: Path, user: str | None) -> None:
    """It ends start_failed; a job that runs goes on, and one that waited behind it is started."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    running = await client.start((await client.create(JobSpec(argv=["sleep", "600"]))).id)
    hung = await client.create(JobSpec(argv=[str(leased)], user=user))
    waiting = await client.create(JobSpec(shell="echo in time"))
    starts = asyncio.gather(client.start(hung.id), client.start(waiting.id), return_exceptions=True)
    async with asyncio.timeout(30):
        failed, started = await starts
    assert isinstance(failed, ExecFailed), failed
    assert failed.data["step"] == "exec"
    assert "hung" in failed.message
    assert not isinstance(started, BaseException), started
    said = b"".join([chunk.data async for chunk in await client.subscribe(waiting.id)])
    assert said == b"in time\n"
    ended = await client.status(hung.id)
    assert ended.exit is not None
    assert ended.exit.reason == Reason.START_FAILED
    stopped = await client.stop(running.id)
    assert stopped.pid == running.pid
    assert stopped.exit is not None
    assert (stopped.exit.reason, stopped.exit.signal) == (Reason.STOPPED, "SIGTERM")
    left = [pid for pid in os.listdir("/proc") if pid.isdigit() and executes(pid, leased)]
    assert left == []


def executes(pid: str, program: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == str(program)
    except OSError:
        return False
